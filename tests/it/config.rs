//! Settings as the real program reads them: layers, errors, masks.

use std::{
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// What `config ARGUMENTS` says with a file and an environment of its own.
fn config(arguments: &[&str], file: Option<&Path>, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_customer-sync"));
    command.env_clear().envs(environment.iter().copied()).arg("config").args(arguments);
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    command.output().expect("the program runs")
}

fn written(text: &str) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, text).expect("written");
    (folder, file)
}

fn shown(file: Option<&Path>, environment: &[(&str, &str)]) -> serde_json::Value {
    let output = config(&["show", "--json"], file, environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_key_of_the_reference_is_a_setting_and_every_setting_is_in_the_reference() {
    let reference: toml::Table =
        toml::from_str(include_str!("../../config/default.toml")).expect("TOML");
    let mut shown = shown(None, &[]);
    let origins = shown.as_object_mut().expect("an object").remove("origins").expect("origins");
    assert_eq!(serde_json::to_value(reference).expect("JSON"), shown);
    assert!(origins.as_object().expect("an object").values().all(|origin| origin == "default"));
}

#[test]
fn every_key_of_the_reference_stands_under_a_sentence() {
    let mut above = String::new();
    for line in include_str!("../../config/default.toml").lines() {
        if line.split_once(" = ").is_some_and(|(key, _)| !key.starts_with('#')) {
            assert!(above.starts_with("# ") && above.trim_end().ends_with('.'), "{line}: {above}");
        }
        line.clone_into(&mut above);
    }
}

#[test]
fn the_environment_lies_over_the_file_and_the_file_over_the_defaults() {
    let (_folder, file) = written("[http]\nlisten = \"127.0.0.1:1\"\n[amqp]\nprefetch = 7");
    let path = file.display().to_string();
    let environment = [
        ("CUSTOMER_SYNC_CONFIG", path.as_str()),
        ("HTTP_LISTEN", "127.0.0.1:2"),
        ("CUSTOMER_SYNC__INTAKE__BATCH_EVENTS", "9"),
    ];
    let shown = shown(None, &environment);
    assert_eq!(shown["http"]["listen"], "127.0.0.1:2");
    assert_eq!(shown["amqp"]["prefetch"], 7);
    assert_eq!(shown["origins"]["amqp.prefetch"], path);
    assert_eq!(shown["origins"]["http.listen"], "environment variable HTTP_LISTEN");
    assert_eq!(shown["database"]["connections"], 10);
}

#[test]
fn what_is_wrong_is_told_with_key_reason_and_file_and_exit_78() {
    for (text, environment, told) in [
        ("[http]\nlisten = \"nowhere\"", None, vec!["http.listen", "socket address"]),
        ("[http]\nlistne = 1", None, vec!["http.listne", "unknown key"]),
        ("[http\n", None, vec!["line 1"]),
        ("[database]\nurl = \"${NOT_SET}\"", None, vec!["database.url", "NOT_SET is not set"]),
        ("[[sources]]\nname = \"api\"\nprovider = \"stripe\"", None, vec!["sources[0].name"]),
        ("[[endpoints]]\nname = \"a\"\nurl = \"http://a.example\"", None, vec!["endpoints[0].url"]),
        (
            "",
            Some(("CUSTOMER_SYNC__WEBHOOKS__LEASE", "1s")),
            vec!["webhooks.lease", "webhooks.timeout", "CUSTOMER_SYNC__WEBHOOKS__LEASE"],
        ),
    ] {
        let (_folder, file) = written(text);
        let output = config(&["check"], Some(&file), environment.as_slice());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}: {error}");
        for part in told {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(environment.is_some() || error.contains("settings.toml"), "{error}");
    }
    let missing = config(&["check"], Some(Path::new("nowhere.toml")), &[]);
    assert_eq!(missing.status.code(), Some(78));
}

/// As the API refuses them.
#[test]
fn an_endpoint_that_cannot_be_is_refused_with_its_field() {
    for (said, field) in [
        ("url = 'http://app.example/'", "url"),
        ("url = 'https://10.0.0.1/'", "url"),
        ("url = 'https://ada:hush@app.example/'", "url"),
        ("event_types = ['payments.*']", "event_types"),
        ("event_types = []", "event_types"),
        ("schedule = ['10s', '5s']", "schedule"),
        ("schedule = ['9000d']", "schedule"),
        ("secret = ''", "secret"),
        ("secret = 'whsec_c2hvcnQ='", "secret"),
        ("headers = { host = 'a' }", "headers"),
        ("timeout = '31s'", "timeout"),
        ("rate_limit = 0", "rate_limit"),
    ] {
        let url = if said.starts_with("url") { "" } else { "url = 'https://app.example/'\n" };
        let (_folder, file) = written(&format!("[[endpoints]]\nname = 'app'\n{url}{said}"));
        let output = config(&["check"], Some(&file), &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}: {error}");
        assert!(error.contains(&format!("endpoints[0].{field}")), "{said}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let (folder, file) = written(
        r#"
        [database]
        url = "postgres://ada:hush-1@db.example/x"
        [secrets]
        key = "${file:FOLDER/key}"
        [[sources]]
        name = "stripe"
        provider = "stripe"
        secrets = ["${STRIPE}"]
        [[endpoints]]
        name = "app"
        url = "https://app.example/hook"
        headers = { authorization = "Bearer hush-4" }
        "#,
    );
    let text = std::fs::read_to_string(&file).expect("read");
    let text = text.replace("FOLDER", &folder.path().display().to_string());
    std::fs::write(&file, text).expect("written");
    std::fs::write(folder.path().join("key"), "hush-2-hush-2-hush-2\n").expect("written");
    for arguments in [&["show"][..], &["show", "--json"], &["check"]] {
        let output = config(arguments, Some(&file), &[("STRIPE", "whsec_hush-3")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(!text.contains("hush"), "{text}");
        }
    }
    // Nor when it is wrong.
    let (_folder, file) = written("[[sources]]\nname = \"s\"\nprovider = \"stripe\"\nsecrets = 17");
    let output = config(&["check"], Some(&file), &[]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("17"));
}
