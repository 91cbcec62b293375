//! Statements over a set of rows.

/// A statement over a set of rows, given as one JSON array in `$1`: `set!(tx, "insert into t (id, n) select
/// id, n from", [id uuid, n bigint], "where true on conflict …")`. The rows are there under the alias `r`.
///
/// Differs because Postgres reads the array by `jsonb_to_recordset`, SQLite by `jsonb_each`: of a row from `json_each` each
/// column would read the text anew.
#[macro_export]
macro_rules! set {
    ($tx:expr, $head:literal, [$($column:ident $kind:ident),+ $(,)?], $tail:literal) => {{
        let sql = $crate::set!(@sql $tx, $head, [$($column $kind),+], $tail);
        $tx.query(sql)
    }};
    ($tx:expr, exactly $rows:expr, $head:literal, [$($column:ident $kind:ident),+ $(,)?], $tail:literal) => {{
        let sql = $crate::set!(@sql $tx, $head, [$($column $kind),+], $tail);
        $tx.query_exactly($rows, sql)
    }};
    (@sql $tx:expr, $head:literal, [$($column:ident $kind:ident),+], $tail:literal) => {{
        let postgres = concat!(
            $head, " jsonb_to_recordset($1::jsonb) as r(", $crate::set!(@pg $($column $kind),+), ") ", $tail
        );
        let sqlite = concat!(
            $head, " (select ", $crate::set!(@lite $($column),+), " from jsonb_each($1)) as r ", $tail
        );
        $tx.pick(postgres, sqlite)
    }};
    (@pg $first:ident $kind:ident $(, $column:ident $rest:ident)*) => {
        concat!(stringify!($first), " ", stringify!($kind) $(, ", ", stringify!($column), " ", stringify!($rest))*)
    };
    (@lite $first:ident $(, $column:ident)*) => {
        concat!("value->>'", stringify!($first), "' as ", stringify!($first)
            $(, ", value->>'", stringify!($column), "' as ", stringify!($column))*)
    };
}
