//! The two schemas are one schema, and the executor keeps every type alike on both databases.

use crate::support::services::{TestDatabase, databases, on_both, postgres};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    model::{id::CustomerId, reference::ReferenceId, time::Timestamp},
    set,
    store::{self, Db, codec::Key},
};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Row as _, types::Json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;

/// A column: its type in SQLite's words, whether it may be null.
type Column = (&'static str, bool);

/// A schema in words that both databases share.
#[derive(Debug, PartialEq, Default)]
struct Schema {
    columns: BTreeMap<(String, String), Column>,
    /// Columns of each primary key, in order.
    primary_keys: BTreeMap<String, String>,
    /// (table, columns) of each unique constraint. SQLite forgets their names.
    unique: BTreeSet<(String, String)>,
    /// (table, name) of each other index: columns, whether it is unique, its condition.
    indexes: BTreeMap<(String, String), (String, bool, String)>,
}

/// One index as a database tells it: table, name, columns, `primary`, `unique` or `index`, whether unique,
/// condition.
type IndexRow = (String, String, String, String, bool, Option<String>);

#[tokio::test]
async fn both_databases_have_the_same_schema() {
    let mut schemas = Vec::new();
    for database in databases().await {
        schemas.push(schema_of(&database).await);
    }
    let [postgres, sqlite] = <[Schema; 2]>::try_from(schemas).expect("two databases");
    assert!(postgres.columns.len() > 100, "the schema was read: {postgres:?}");
    for (place, column) in &postgres.columns {
        assert_eq!(Some(column), sqlite.columns.get(place), "on SQLite, column {place:?}");
    }
    for place in sqlite.columns.keys() {
        assert!(postgres.columns.contains_key(place), "on Postgres there is no column {place:?}");
    }
    assert_eq!(postgres.primary_keys, sqlite.primary_keys);
    assert_eq!(postgres.unique, sqlite.unique);
    assert_eq!(postgres.indexes, sqlite.indexes);
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    on_both(async |database| {
        let before = schema_of(&database).await;
        database.db.migrate().await.expect("a second time");
        assert_eq!(before, schema_of(&database).await);
    })
    .await;
}

/// SQLite has no index for a part of a text or for what JSON holds: lists by these read the table there.
#[tokio::test]
async fn postgres_alone_has_indexes_for_parts_of_names_and_for_tags_and_metadata() {
    let database = postgres().await;
    let mut tx = database.db.snapshot().await.expect("a transaction");
    let sql = "select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid
         join pg_am a on a.oid = i.relam and a.amname <> 'btree'
         where i.relnamespace = current_schema()::regnamespace order by 1";
    let names: Vec<(String,)> = tx.query(sql).all().await.expect("indexes");
    let names: Vec<&str> = names.iter().map(|(name,)| name.as_str()).collect();
    let sql = "select count(*) from pg_available_extensions where name = 'pg_trgm'";
    let (has_trigrams,) = tx.query(sql).one::<(i64,)>().await.expect("a number");
    let expected = ["customer_profiles_person", "customer_profiles_search"];
    assert_eq!(names, &expected[..if has_trigrams == 1 { 2 } else { 1 }]);
}

async fn schema_of(database: &TestDatabase) -> Schema {
    let mut tx = database.db.snapshot().await.expect("a transaction");
    // Differs because each database describes itself in tables of its own.
    let sql = tx.pick(
        "select table_name::text, column_name::text, udt_name::text, is_nullable = 'YES'
         from information_schema.columns where table_schema = current_schema() and table_name in
             (select tablename from pg_tables where schemaname = current_schema())",
        "select t.name, c.name, lower(c.type), not c.\"notnull\"
         from sqlite_master t join pragma_table_info(t.name) c where t.type = 'table'",
    );
    let columns = tx.query(sql).all::<(String, String, String, bool)>().await.expect("columns");
    // Differs because each database describes itself in tables of its own.
    let sql = tx.pick(
        "select t.relname::text, i.relname::text,
             (select string_agg(pg_get_indexdef(x.indexrelid, n, true), ',' order by n)
              from generate_series(1, x.indnkeyatts) n),
             case when x.indisprimary then 'primary' when k.oid is not null then 'unique' else 'index' end,
             x.indisunique, pg_get_expr(x.indpred, x.indrelid)
         from pg_index x
         join pg_class i on i.oid = x.indexrelid
         join pg_class t on t.oid = x.indrelid
         join pg_am a on a.oid = i.relam and a.amname = 'btree'
         left join pg_constraint k on k.conindid = x.indexrelid and k.contype = 'u'
         where t.relnamespace = current_schema()::regnamespace",
        "select t.name, i.name,
             (select group_concat(name, ',') from (select name from pragma_index_info(i.name) order by seqno)),
             case i.origin when 'pk' then 'primary' when 'u' then 'unique' else 'index' end,
             i.\"unique\", case when i.partial
                 then (select substr(sql, instr(sql, ' where ') + 7) from sqlite_master where name = i.name) end
         from sqlite_master t join pragma_index_list(t.name) i where t.type = 'table'",
    );
    let indexes = tx.query(sql).all::<IndexRow>().await.expect("indexes");
    let is_ours = |table: &str| !table.starts_with("_sqlx") && !table.starts_with("sqlite_");

    let mut schema = Schema::default();
    for (table, column, kind, nullable) in columns {
        if is_ours(&table) {
            schema.columns.insert((table, column), (sqlite_type(&kind), nullable));
        }
    }
    for (table, name, columns, origin, unique, condition) in indexes {
        if !is_ours(&table) {
            continue;
        }
        match origin.as_str() {
            "primary" => assert_eq!(schema.primary_keys.insert(table, columns), None),
            "unique" => assert!(schema.unique.insert((table, columns))),
            _ => {
                let condition = plain(&condition.unwrap_or_default());
                schema.indexes.insert((table, name), (columns, unique, condition));
            }
        }
    }
    schema
}

/// What stands in SQLite for a type of either database.
fn sqlite_type(kind: &str) -> &'static str {
    match kind {
        "text" | "uuid" | "timestamptz" | "jsonb" => "text",
        "blob" | "bytea" => "blob",
        "integer" | "int8" | "bool" => "integer",
        other => panic!("no rule for the type {other}: give it one here and in codec.rs"),
    }
}

/// A condition without what Postgres adds to it.
fn plain(condition: &str) -> String {
    condition.to_lowercase().replace("::text", "").replace(['(', ')'], "")
}

/// One row with a column of every type that the schema uses.
type Sample = (
    Key,
    CustomerId,
    ReferenceId,
    Timestamp,
    Option<Timestamp>,
    bool,
    i64,
    Option<i64>,
    String,
    Vec<u8>,
    Json<Value>,
);

/// A database with a table that holds one column of each type.
async fn with_samples(db: &Db) {
    let mut tx = db.begin().await.expect("a transaction");
    // Differs because the types are called by other names.
    let sql = tx.pick(
        "create table samples (id uuid not null primary key, customer_id uuid, reference_id uuid,
             at timestamptz not null, ended_at timestamptz, flag boolean, number bigint, amount bigint,
             word text, bytes bytea, facts jsonb)",
        "create table samples (id text not null primary key, customer_id text, reference_id text,
             at text not null, ended_at text, flag integer, number integer, amount integer,
             word text, bytes blob, facts text) strict",
    );
    tx.query(sql).execute().await.expect("the table is made");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn every_type_comes_back_as_it_was_written() {
    on_both(async |TestDatabase { db, .. }| {
        with_samples(&db).await;
        let clock = Clock::system();
        let facts = json!({ "name": "Zoë \"Z\" 🦊", "amount": 9_007_199_254_740_991_i64, "none": null, "deep": [[1.5, true]] });
        let sample: Sample = (
            Key(clock.new_id()),
            CustomerId(clock.new_id()),
            ReferenceId(clock.new_id()),
            Timestamp::parse("2025-02-28T23:59:59.999999Z").expect("a time"),
            None,
            true,
            i64::MIN,
            Some(i64::MAX),
            "naïve ☂ 'quoted' \\ text\n".to_owned(),
            (0..=255).collect(),
            Json(facts),
        );
        let mut tx = db.begin().await.expect("a transaction");
        let (id, customer, reference, at, ended, flag, number, amount, word, bytes, facts) = sample.clone();
        let written = tx
            .query("insert into samples values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
            .bind(id)
            .bind(customer)
            .bind(reference)
            .bind(at)
            .bind(ended)
            .bind(flag)
            .bind(number)
            .bind(amount)
            .bind(word)
            .bind(bytes)
            .bind(facts)
            .execute()
            .await
            .expect("written");
        assert_eq!(written, 1);
        tx.commit().await.expect("committed");
        let mut tx = db.snapshot().await.expect("a transaction");
        let read: Sample = tx.query("select * from samples").one().await.expect("read");
        assert_eq!(read, sample);
    })
    .await;
}

#[tokio::test]
async fn times_compare_and_sort_as_times_on_both() {
    on_both(async |TestDatabase { db, .. }| {
        with_samples(&db).await;
        let times: Vec<Timestamp> = [
            Timestamp::UNKNOWN.micros(),
            -1,
            0,
            1,
            999_999,
            1_000_000,
            1_700_000_000_000_000,
            1_700_000_000_000_001,
            253_402_300_799_999_999,
        ]
        .map(|micros| Timestamp::from_micros(micros).expect("in range"))
        .into();
        let mut tx = db.begin().await.expect("a transaction");
        for at in times.iter().rev() {
            tx.query("insert into samples (id, at) values ($1, $2)")
                .bind(Key(Clock::system().new_id()))
                .bind(*at)
                .execute()
                .await
                .expect("written");
        }
        let sorted: Vec<(Timestamp,)> =
            tx.query("select at from samples order by at").all().await.expect("read");
        assert_eq!(sorted.into_iter().map(|row| row.0).collect::<Vec<_>>(), times);
        for (count, bound) in times.iter().enumerate() {
            let before: (i64,) = tx
                .query("select count(*) from samples where at < $1")
                .bind(*bound)
                .one()
                .await
                .expect("counted");
            assert_eq!(usize::try_from(before.0), Ok(count), "before {bound}");
        }
    })
    .await;
}

/// A [`Row`] as it is read.
type Read = (Key, Timestamp, Option<Timestamp>, bool, i64, Option<String>, Json<Value>);

#[derive(Serialize)]
struct Row {
    id: uuid::Uuid,
    at: Timestamp,
    ended_at: Option<Timestamp>,
    flag: bool,
    number: i64,
    word: Option<String>,
    facts: Value,
}

#[tokio::test]
async fn a_set_of_rows_is_one_statement_on_both() {
    on_both(async |TestDatabase { db, .. }| {
        with_samples(&db).await;
        let at = Timestamp::from_seconds(1_700_000_000).expect("in range");
        let rows: Vec<Row> = (0..300_i64)
            .map(|number| Row {
                id: Clock::system().new_id(),
                at: at.plus(TimeDelta::microseconds(number)),
                ended_at: (number % 2 == 0).then_some(at),
                flag: number % 3 == 0,
                number: number - 150,
                word: (number % 5 != 0).then(|| format!("word {number}")),
                facts: json!({ "number": number, "list": [null, "'"] }),
            })
            .collect();
        let mut tx = db.begin().await.expect("a transaction");
        for touched in [300, 0] {
            let written = set!(
                tx,
                "insert into samples (id, at, ended_at, flag, number, word, facts)
                 select id, at, ended_at, flag, number, word, facts from",
                [id uuid, at timestamptz, ended_at timestamptz, flag boolean, number bigint, word text, facts jsonb],
                "where true on conflict (id) do nothing"
            )
            .bind_rows(&rows)
            .execute()
            .await
            .expect("written");
            assert_eq!(written, touched);
        }
        let read: Vec<Read> = tx
            .query("select id, at, ended_at, flag, number, word, facts from samples order by number")
            .all()
            .await
            .expect("read");
        let expected: Vec<Read> = rows
            .into_iter()
            .map(|row| {
                (Key(row.id), row.at, row.ended_at, row.flag, row.number, row.word, Json(row.facts))
            })
            .collect();
        assert_eq!(read, expected);
    })
    .await;
}

#[tokio::test]
async fn the_bytes_of_many_rows_are_one_parameter_on_both() {
    #[derive(Serialize)]
    struct Place {
        at: usize,
        size: usize,
    }
    on_both(async |TestDatabase { db, .. }| {
        let bodies = [vec![0, 1, 255], Vec::new(), b"it's".to_vec()];
        let places = [(1, 3), (4, 0), (4, 4)].map(|(at, size)| Place { at, size });
        let mut tx = db.begin().await.expect("a transaction");
        let read: Vec<(Vec<u8>,)> =
            set!(tx, "select substr($2, r.at, r.size) from", [at integer, size integer], "")
                .bind_rows(&places)
                .bind(bodies.concat())
                .all()
                .await
                .expect("read");
        assert_eq!(read.into_iter().map(|row| row.0).collect::<Vec<_>>(), bodies);
    })
    .await;
}

/// As many parameters as there are before them, and the others' rows are not seen.
#[tokio::test]
async fn writes_that_are_run_together_each_have_values_of_their_own() {
    on_both(async |TestDatabase { db, .. }| {
        let mut tx = db.begin().await.expect("a transaction");
        tx.together().run(&mut tx).await.expect("nothing is nothing");
        let mut writes = tx.together();
        for (name, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            writes
                .query("insert into settings (name, value) values ($1, $2)")
                .bind(name.to_owned())
                .bind(value.to_owned());
        }
        writes.run(&mut tx).await.expect("written");
        let sql = "select name, value from settings order by name";
        let read = tx.query(sql).all::<(String, String)>().await.expect("read");
        let expected = [("a", "1"), ("b", "2"), ("c", "3")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    })
    .await;
}

/// Whoever comes second begins again, whatever else was to be written.
#[tokio::test]
async fn of_writes_that_have_to_be_new_one_that_is_not_fails_all() {
    on_both(async |TestDatabase { db, .. }| {
        let write = async |names: &[&str], rows: usize| {
            let mut tx = db.begin_batch().await.expect("a transaction");
            let mut writes = tx.together();
            writes
                .query("insert into settings (name, value) values ($1, 'beside')")
                .bind(format!("beside {names:?}"));
            for name in names {
                let sql = "insert into settings (name, value) values ($1, 'new')
                    on conflict do nothing returning 1";
                writes.query_exactly(rows, sql).bind((*name).to_owned());
            }
            let written = writes.run(&mut tx).await;
            if written.is_ok() {
                tx.commit().await.expect("committed");
            }
            written
        };
        write(&["a"], 1).await.expect("it is new");
        write(&["b", "c"], 1).await.expect("both are new");
        for names in [["a", "d"], ["d", "a"]] {
            let refused = write(&names, 1).await.expect_err("one is there");
            assert!(matches!(refused, store::Error::Grew), "{refused:?}");
        }
        let mut tx = db.snapshot().await.expect("a transaction");
        let sql = "select name from settings where value = 'new' order by name";
        let read = tx.query(sql).all::<(String,)>().await.expect("read");
        assert_eq!(read.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    })
    .await;
}

#[tokio::test]
async fn a_second_row_of_one_key_is_a_unique_violation_and_no_passing_fault() {
    on_both(async |TestDatabase { db, .. }| {
        let insert = async || {
            let mut tx = db.begin().await?;
            tx.query("insert into settings (name, value) values ($1, $2)")
                .bind("a".to_owned())
                .bind("b".to_owned())
                .execute()
                .await?;
            tx.commit().await
        };
        insert().await.expect("the first");
        let error = insert().await.expect_err("the second");
        assert!(
            error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
        );
        let error = store::Error::from(error);
        assert!(!error.is_transient() && !error.is_conflict(), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_committed_never_was() {
    on_both(async |TestDatabase { db, .. }| {
        let mut tx = db.begin().await.expect("a transaction");
        tx.query("insert into settings (name, value) values ('a', 'b')")
            .execute()
            .await
            .expect("written");
        drop(tx);
        let mut tx = db.begin().await.expect("another");
        let left: (i64,) = tx.query("select count(*) from settings").one().await.expect("counted");
        assert_eq!(left.0, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_writers_at_once_all_get_their_turn() {
    on_both(async |TestDatabase { db, .. }| {
        let mut tx = db.begin().await.expect("a transaction");
        tx.query("insert into settings (name, value) values ('count', '0')")
            .execute()
            .await
            .expect("written");
        tx.commit().await.expect("committed");
        let mut writers = JoinSet::new();
        for _ in 0..8 {
            let db = db.clone();
            writers.spawn(async move {
                for _ in 0..10 {
                    let mut tx = db.begin().await?;
                    // Differs because SQLite has taken its one lock at `begin`.
                    let sql = tx.pick(
                        "select value from settings where name = 'count' for update",
                        "select value from settings where name = 'count'",
                    );
                    let (count,): (String,) = tx.query(sql).one().await?;
                    let next = count.parse::<i64>().expect("a number") + 1;
                    tx.query("update settings set value = $1 where name = 'count'")
                        .bind(next.to_string())
                        .execute()
                        .await?;
                    tx.commit().await?;
                }
                Ok::<(), sqlx::Error>(())
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer.expect("it did not panic").expect("it was never refused");
        }
        let mut tx = db.snapshot().await.expect("a transaction");
        let (count,): (String,) =
            tx.query("select value from settings where name = 'count'").one().await.expect("read");
        assert_eq!(count, "80");
    })
    .await;
}

/// sqlx 0.9.0 gives a connection whose BEGIN was canceled back to the pool inside an open transaction, and
/// the next one's writes run in it (transact-rs/sqlx#4385). Nothing in the program cancels one on purpose; this does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_canceled_leaves_no_connection_inside_a_transaction() {
    let database = postgres().await;
    let db = &database.db;
    let Db::Postgres { pool, batches, .. } = db else { panic!("this is Postgres") };
    let (mut canceled, mut open) = (0, 0);
    for round in 0..240 {
        let patience = async {
            for _ in 0..round % 30 {
                tokio::task::yield_now().await;
            }
        };
        let work = async {
            match round % 4 {
                0 => drop(db.begin().await?),
                1 => db.begin_by_key().await?.commit().await?,
                2 => db.begin_batch().await?.commit().await?,
                _ => drop(db.single().await?.query("select 1").one::<(i32,)>().await?),
            }
            Ok::<(), sqlx::Error>(())
        };
        tokio::select! {
            done = work => done.expect("done"),
            () = patience => canceled += 1,
        }
        let used = if round % 4 == 2 { batches } else { pool };
        let mut connection = used.acquire().await.expect("a connection");
        // Outside a transaction a simple statement is one of its own, and both times are its start.
        let outside = sqlx::raw_sql("select now() = statement_timestamp()")
            .fetch_one(&mut *connection)
            .await
            .expect("asked");
        let outside: bool = outside.get(0);
        open += i32::from(!outside);
    }
    assert!(canceled > 0, "nothing was cut short: the test does not test");
    assert_eq!(open, 0, "connections inside an open transaction, of {canceled} canceled");
}

/// What API reads take: no BEGIN before it, no end after it, and no transaction left.
#[tokio::test]
async fn a_single_statement_takes_no_transaction_and_a_failed_one_harms_no_other() {
    on_both(async |database| {
        for _ in 0..20 {
            let mut single = database.db.single().await.expect("a connection");
            assert!(single.query("select 1 from nowhere").execute().await.is_err());
            drop(single);
            let mut single = database.db.single().await.expect("a connection");
            // Differs because SQLite has no time of a transaction: there it is that readers can write nothing. Within a
            // transaction of Postgres's the time stands still.
            let sql = single.pick(
                "select cast(extract(epoch from now()) * 1000000 as bigint)",
                "select query_only from pragma_query_only",
            );
            let mut ask = async || single.query(sql).one::<(i64,)>().await.expect("asked").0;
            let (first, second) = (ask().await, ask().await);
            match database.db {
                Db::Postgres { .. } => assert!(second > first, "{first} {second}"),
                Db::Sqlite { .. } => assert_eq!((first, second), (1, 1)),
            }
            single.commit().await.expect("nothing to end");
        }
    })
    .await;
}
