//! What the store's functions see of a database, whichever it is: statements with `?1`, values,
//! rows, and one transaction around all of them.
//!
//! There is one set of functions for all databases, so that none can fall behind. A database
//! is what implements [`Database`]; their dialects meet in the migrations, and in the few words
//! that a statement may not use: SQL here is what SQLite and Postgres both read.

use super::StoreError;
use super::news::News;
use std::cell::RefCell;
use std::fmt;

/// A value on its way into a statement, or out of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Bytes.
    Blob(&'a [u8]),
    /// Whole numbers, times, and yes or no as 1 or 0.
    Integer(i64),
    /// Nothing.
    Null,
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(&'a str),
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Intent {
    /// One state of the database, whatever is written meanwhile.
    Read,
    /// To write, alone: until it ends no other process and thread writes.
    Write,
}

/// One connection to one database.
///
/// Between [`begin`](Self::begin) and the end of the transaction, work runs in parts: each
/// begins with [`part`](Self::part) and may be undone by itself.
pub(super) trait Database: fmt::Debug + Send {
    /// Runs statements that take no values and have no rows.
    fn batch(&self, sql: &str) -> Result<(), StoreError>;

    /// Begins a transaction; connects again first where the connection was lost.
    fn begin(&mut self, intent: Intent) -> Result<(), StoreError>;

    /// Commits: what was written is on the disk when this returns. Other processes on this
    /// database are told that there is something new, and `news`.
    fn commit(&mut self, news: &[News]) -> Result<(), StoreError>;

    /// Runs a statement; how many rows it changed.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError>;

    /// Rows were put into `table` with numbers of their own: it counts on after the highest.
    fn filled(&self, table: &str) -> Result<(), StoreError>;

    /// The database ended the transaction by itself, or is gone.
    fn is_over(&self) -> bool;

    /// Keeps the part that was begun last.
    fn keep(&self) -> Result<(), StoreError>;

    /// Begins the next part of the transaction.
    fn part(&self) -> Result<(), StoreError>;

    /// The processes that are connected to this database; none where there is only this one.
    fn processes(&self) -> Result<Vec<String>, StoreError>;

    /// Runs a statement, and `each` for its rows until that says false.
    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError>;

    /// Ends the transaction without a trace.
    fn rollback(&mut self);

    /// As [`query`](Self::query), for more rows than fit into memory.
    fn scan(
        &self,
        sql: &str,
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError>;

    /// Undoes the part that was begun last.
    fn undo(&self) -> Result<(), StoreError>;
}

/// A connection, within a transaction wherever the store hands it out.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) database: Box<dyn Database>,
    /// What to tell once the transaction is committed.
    pub(super) told: RefCell<Vec<News>>,
}

impl Connection {
    pub(super) fn new(database: impl Database + 'static) -> Self {
        Self { database: Box::new(database), told: RefCell::default() }
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        params.with(&mut |values| self.database.execute(sql, values))
    }

    /// A statement, read once and kept by the connection.
    pub(crate) fn prepare_cached<'a>(&'a self, sql: &'a str) -> Result<Statement<'a>, StoreError> {
        Ok(Statement { connection: self, sql })
    }

    /// The processes that are connected to this database; none where there is only this one.
    pub(crate) fn processes(&self) -> Result<Vec<String>, StoreError> {
        self.database.processes()
    }

    /// As [`Statement::query_row`].
    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        Statement { connection: self, sql }.query_row(params, read)
    }

    /// Tells every process, this one too, once the transaction is committed. [`News::Events`] is
    /// told to this one only: the others take every commit that they hear of for it.
    pub(crate) fn tell(&self, news: News) {
        let mut told = self.told.borrow_mut();
        // Once is enough of what names nothing.
        if news != News::Events || !told.contains(&news) {
            told.push(news);
        }
    }
}

/// A statement of a connection.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    connection: &'a Connection,
    sql: &'a str,
}

impl Statement<'_> {
    /// Runs it; how many rows it changed.
    pub(crate) fn execute(&mut self, params: impl Params) -> Result<usize, StoreError> {
        self.connection.execute(self.sql, params)
    }

    /// All rows, each read by `read`.
    pub(crate) fn query_map<T>(
        &mut self,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<std::vec::IntoIter<Result<T, StoreError>>, StoreError> {
        let mut rows = Vec::new();
        let mut each = |row: &Row<'_>| {
            rows.push(read(row));
            Ok(true)
        };
        params.with(&mut |values| self.connection.database.query(self.sql, values, &mut each))?;
        Ok(rows.into_iter())
    }

    /// The first row, read by `read`; [`StoreError::NoRow`] where there is none.
    pub(crate) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (mut read, mut found) = (Some(read), None);
        let mut each = |row: &Row<'_>| {
            if let Some(read) = read.take() {
                found = Some(read(row)?);
            }
            Ok(false)
        };
        params.with(&mut |values| self.connection.database.query(self.sql, values, &mut each))?;
        found.ok_or(StoreError::NoRow)
    }
}

/// For rows that need not be there.
pub(crate) trait OptionalExtension<T> {
    /// None where there is no row.
    fn optional(self) -> Result<Option<T>, StoreError>;
}

impl<T> OptionalExtension<T> for Result<T, StoreError> {
    fn optional(self) -> Result<Option<T>, StoreError> {
        match self {
            Ok(row) => Ok(Some(row)),
            Err(StoreError::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The columns of a row, as a database has them.
pub(super) trait Columns {
    /// The value of a column, by its number from 0.
    fn value(&self, column: usize) -> Result<Value<'_>, StoreError>;
}

/// One row.
pub(crate) struct Row<'a>(pub(super) &'a dyn Columns);

impl Row<'_> {
    /// The value of a column, by its number from 0.
    pub(crate) fn get<T: FromValue>(&self, column: usize) -> Result<T, StoreError> {
        let value = self.0.value(column)?;
        T::from_value(value)
            .ok_or_else(|| StoreError::damaged("a row", format!("column {column} holds {value:?}")))
    }

    /// The value as it stands there.
    pub(super) fn value(&self, column: usize) -> Result<Value<'_>, StoreError> {
        self.0.value(column)
    }
}

/// What a column may be read as.
pub(crate) trait FromValue: Sized {
    /// None where it is of another kind, or out of range.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.to_owned()) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Blob(bytes) = value { Some(bytes.to_vec()) } else { None }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Blob(bytes) = value { bytes.try_into().ok() } else { None }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Integer(number) = value { Some(number) } else { None }
    }
}

impl FromValue for u16 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for bool {
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Real(number) = value { Some(number) } else { None }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// What may take the place of a `?1`.
pub(crate) trait ToValue {
    /// As the database has it.
    fn to_value(&self) -> Value<'_>;
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl ToValue for f64 {
    fn to_value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}

impl ToValue for i64 {
    fn to_value(&self) -> Value<'_> {
        Value::Integer(*self)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => { $(
        impl ToValue for $type {
            fn to_value(&self) -> Value<'_> {
                Value::Integer(i64::from(*self))
            }
        }
    )* };
}
whole_numbers!(bool, u16, u32);

/// The values of a statement: a tuple, or an array of one type.
pub(crate) trait Params {
    /// Runs `use_them` with the values, once.
    fn with<T>(
        &self,
        use_them: &mut dyn FnMut(&[Value<'_>]) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>;
}

impl Params for [&str; 0] {
    fn with<T>(
        &self,
        use_them: &mut dyn FnMut(&[Value<'_>]) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        use_them(&[])
    }
}

macro_rules! arrays {
    ($($length:literal),*) => { $(
        impl<V: ToValue> Params for [V; $length] {
            fn with<T>(
                &self,
                use_them: &mut dyn FnMut(&[Value<'_>]) -> Result<T, StoreError>,
            ) -> Result<T, StoreError> {
                use_them(&self.each_ref().map(V::to_value))
            }
        }
    )* };
}
arrays!(1, 2, 3);

macro_rules! tuples {
    ($($($name:ident)+;)*) => { $(
        #[allow(non_snake_case)] // The names of the types are also those of the values.
        impl<$($name: ToValue),+> Params for ($($name,)+) {
            fn with<T>(
                &self,
                use_them: &mut dyn FnMut(&[Value<'_>]) -> Result<T, StoreError>,
            ) -> Result<T, StoreError> {
                let ($($name,)+) = self;
                use_them(&[$($name.to_value()),+])
            }
        }
    )* };
}
tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
    A B C D E F G H I J K;
    A B C D E F G H I J K L;
}
