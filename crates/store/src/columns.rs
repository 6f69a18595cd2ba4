//! Conversion between fields of rows and columns: the table that names each column once, and the forms of values.
//!
//! A form is a module with `write`, which makes the value of a column of a field, and `read`, which makes it a field again.

/// The columns of a table: the name of each, the field of the row that it holds, and its form.
///
/// Makes `COLUMNS`, all names with commas between them; `values`, the values of a row in that order; and `read`, which makes
/// a row of columns that were selected in that order, the first of them at place `from`.
macro_rules! columns {
    ($row:ident { $first:literal $first_field:ident: $first_form:ident, $($name:literal $field:ident: $form:ident,)+ }) => {
        const COLUMNS: &str = concat!($first $(, ", ", $name)+);

        fn values(row: &$row) -> rusqlite::Result<Vec<rusqlite::types::ToSqlOutput<'_>>> {
            use crate::columns::*;
            Ok(vec![$first_form::write(&row.$first_field)?, $($form::write(&row.$field)?),+])
        }

        pub(crate) fn read(r: &rusqlite::Row<'_>, from: usize) -> rusqlite::Result<$row> {
            use crate::columns::*;
            let mut column = from..;
            let mut next = || column.next().unwrap_or_default();
            Ok($row { $first_field: $first_form::read(r, next())?, $($field: $form::read(r, next())?),+ })
        }
    };
}
pub(crate) use columns;

/// `?1, ?2 ...`: places for so many values.
pub(crate) fn places(many: usize) -> String {
    let places: Vec<String> = (1..=many).map(|n| format!("?{n}")).collect();
    places.join(", ")
}

/// Values that SQLite holds as they are: texts, integers, and either or nothing.
pub(crate) mod plain {
    use rusqlite::types::{FromSql, ToSqlOutput};
    use rusqlite::{Result, Row, ToSql};

    pub(crate) fn write<T: ToSql>(value: &T) -> Result<ToSqlOutput<'_>> {
        value.to_sql()
    }

    pub(crate) fn read<T: FromSql>(r: &Row<'_>, column: usize) -> Result<T> {
        r.get(column)
    }
}

/// A count, which SQLite has as a signed integer.
pub(crate) mod count {
    use rusqlite::types::ToSqlOutput;
    use rusqlite::{Result, Row};

    #[expect(clippy::unnecessary_wraps, reason = "as all forms have it")]
    pub(crate) fn write(count: &u64) -> Result<ToSqlOutput<'static>> {
        Ok(count.cast_signed().into())
    }

    pub(crate) fn read(r: &Row<'_>, column: usize) -> Result<u64> {
        r.get(column).map(i64::cast_unsigned)
    }
}

/// One of our words.
pub(crate) mod word {
    use std::str::FromStr;

    use link::Word;
    use rusqlite::types::ToSqlOutput;
    use rusqlite::{Result, Row};

    #[expect(clippy::unnecessary_wraps, reason = "as all forms have it")]
    pub(crate) fn write<T: Word>(value: &T) -> Result<ToSqlOutput<'static>> {
        Ok(value.as_str().into())
    }

    pub(crate) fn read<T: FromStr>(r: &Row<'_>, column: usize) -> Result<T> {
        crate::words::by_word(r.get_ref(column)?.as_str()?).map_err(|e| super::unreadable(column, e))
    }
}

/// One of our words, or NULL.
pub(crate) mod word_or_null {
    use std::str::FromStr;

    use link::Word;
    use rusqlite::types::{ToSqlOutput, ValueRef};
    use rusqlite::{Result, Row};

    pub(crate) fn write<T: Word>(value: &Option<T>) -> Result<ToSqlOutput<'static>> {
        value.map_or(Ok(rusqlite::types::Null.into()), |v| super::word::write(&v))
    }

    pub(crate) fn read<T: FromStr>(r: &Row<'_>, column: usize) -> Result<Option<T>> {
        match r.get_ref(column)? {
            ValueRef::Null => Ok(None),
            _ => super::word::read(r, column).map(Some),
        }
    }
}

/// JSON.
pub(crate) mod json {
    use rusqlite::types::ToSqlOutput;
    use rusqlite::{Error, Result, Row};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub(crate) fn write<T: Serialize>(value: &T) -> Result<ToSqlOutput<'static>> {
        let text = serde_json::to_string(value).map_err(|e| Error::ToSqlConversionFailure(Box::new(e)))?;
        Ok(text.into())
    }

    pub(crate) fn read<T: DeserializeOwned>(r: &Row<'_>, column: usize) -> Result<T> {
        serde_json::from_str(r.get_ref(column)?.as_str()?).map_err(|e| super::unreadable(column, e))
    }
}

/// A list as JSON. Most lists of a click are empty, and cost nothing then.
pub(crate) mod list {
    use rusqlite::types::ToSqlOutput;
    use rusqlite::{Result, Row};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub(crate) fn write<T: Serialize>(list: &[T]) -> Result<ToSqlOutput<'static>> {
        if list.is_empty() {
            Ok("[]".into())
        } else {
            super::json::write(&list)
        }
    }

    pub(crate) fn read<T: DeserializeOwned>(r: &Row<'_>, column: usize) -> Result<Vec<T>> {
        super::json::read(r, column)
    }
}

fn unreadable(column: usize, why: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(why))
}
