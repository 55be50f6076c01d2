//! What happened, in order, never changed.

use std::collections::BTreeSet;

use domain::event::EventKind;
use domain::{ModelName, Refusal};
use serde_json::Value;
use sqlx::SqliteConnection;

use super::{Registry, UnixMillis, limited};
use crate::failure;

/// The place of an event in the order of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

impl EventId {
    /// Before the first event.
    pub const START: Self = Self(0);
    /// After the last one.
    pub const END: Self = Self(i64::MAX);
}

/// Something that happened to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// When.
    pub at: UnixMillis,
    /// To which model.
    pub model: ModelName,
    /// What.
    pub kind: EventKind,
    /// The evidence, as a JSON object.
    pub detail: Value,
}

/// Something that happened, as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place in the order.
    pub id: EventId,
    /// When.
    pub at: UnixMillis,
    /// To which model.
    pub model: ModelName,
    /// What.
    pub kind: String,
    /// The evidence.
    pub detail: Value,
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug)]
pub struct EventsAsked<'a> {
    /// Those of one model; without it of all.
    pub model: Option<&'a ModelName>,
    /// Those of these kinds; without any of all.
    pub kinds: &'a BTreeSet<EventKind>,
    /// From this time up to the other.
    pub within: (UnixMillis, UnixMillis),
    /// From where on, and which way.
    pub order: Order,
    /// How many.
    pub limit: u32,
}

/// From where on events are read, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those after an event, the oldest first.
    Oldest {
        /// This one.
        after: EventId,
    },
    /// Those before an event, the newest first.
    Newest {
        /// This one.
        before: EventId,
    },
}

/// What reads events on one side of one of them: of a model or of all, of a kind or of all.
macro_rules! asked {
    ($model:expr, $kind:expr, $side:literal, $order:literal) => {
        match ($model, $kind) {
            (None, None) => asked!("", $side, $order),
            (Some(_), None) => asked!("model = ?5 AND", $side, $order),
            (None, Some(_)) => asked!("kind = ?5 AND", $side, $order),
            (Some(_), Some(_)) => asked!("model = ?5 AND kind = ?6 AND", $side, $order),
        }
    };
    ($of:literal, $side:literal, $order:literal) => {
        concat!(
            "SELECT id, at, model, kind, detail FROM events WHERE ",
            $of,
            " id ",
            $side,
            " ?1 AND at >= ?2 AND at < ?3 ORDER BY id ",
            $order,
            " LIMIT ?4"
        )
    };
}

type Row = (i64, i64, String, String, String);

impl Registry {
    /// Writes an event down.
    pub async fn append_event(&self, event: NewEvent) -> Result<EventId, Refusal> {
        let mut db = self.writer.acquire().await.map_err(failure::of_sql)?;
        append(&mut db, event).await
    }

    /// The events of all models after this one, oldest first.
    pub async fn events(&self, after: EventId, limit: u32) -> Result<Vec<Event>, Refusal> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, at, model, kind, detail FROM events WHERE id > ? ORDER BY id LIMIT ?",
        )
        .bind(after.0)
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.into_iter().map(read).collect()
    }

    /// The last event; that before the first where there was none.
    pub async fn newest_event(&self) -> Result<EventId, Refusal> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM events")
            .fetch_one(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        Ok(last.map_or(EventId::START, EventId))
    }

    /// The events that are asked for, in the order that is asked for.
    pub async fn events_asked(&self, asked: &EventsAsked<'_>) -> Result<Vec<Event>, Refusal> {
        let mut rows = Vec::new();
        // Those of each kind by themselves: no index has those of several in the order of all. But as of one moment, or
        // who reads on after the last would never see an earlier one that came meanwhile.
        let mut db = self.readers.begin().await.map_err(failure::of_sql)?;
        for kind in asked.kinds {
            rows.extend(rows_asked(&mut db, asked, Some(*kind)).await?);
        }
        if asked.kinds.is_empty() {
            rows = rows_asked(&mut db, asked, None).await?;
        }
        drop(db);
        match asked.order {
            Order::Oldest { .. } => rows.sort_by_key(|it| it.0),
            Order::Newest { .. } => rows.sort_by_key(|it| std::cmp::Reverse(it.0)),
        }
        let most = usize::try_from(limited(asked.limit)).unwrap_or(usize::MAX);
        rows.truncate(most);
        rows.into_iter().map(read).collect()
    }

    /// The last event of a model: what it has told of is not changed since. None where nothing was told.
    pub async fn last_event(&self, model: &ModelName) -> Result<Option<EventId>, Refusal> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM events WHERE model = ?")
            .bind(model.as_str())
            .fetch_one(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        Ok(last.map(EventId))
    }

    /// The events of one model after this one, oldest first. A removed model keeps its events; one
    /// that never was has none.
    pub async fn events_of(
        &self,
        model: &ModelName,
        after: EventId,
        limit: u32,
    ) -> Result<Vec<Event>, Refusal> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, at, model, kind, detail FROM events
             WHERE model = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(model.as_str())
        .bind(after.0)
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.into_iter().map(read).collect()
    }
}

/// Writes an event down in the transaction of what it tells of.
pub(super) async fn append(db: &mut SqliteConnection, event: NewEvent) -> Result<EventId, Refusal> {
    let NewEvent {
        at,
        model,
        kind,
        detail,
    } = event;
    let done = sqlx::query("INSERT INTO events (at, model, kind, detail) VALUES (?, ?, ?, ?)")
        .bind(at.0)
        .bind(model.as_str())
        .bind(kind.name())
        .bind(detail.to_string())
        .execute(db)
        .await
        .map_err(failure::of_sql)?;
    Ok(EventId(done.last_insert_rowid()))
}

async fn rows_asked(
    db: &mut SqliteConnection,
    asked: &EventsAsked<'_>,
    kind: Option<EventKind>,
) -> Result<Vec<Row>, Refusal> {
    let EventsAsked {
        model,
        kinds: _,
        within: (from, to),
        order,
        limit,
    } = asked;
    // A statement for each case, so that each has its index.
    let (statement, end) = match order {
        Order::Oldest { after } => (asked!(model, kind, ">", "ASC"), *after),
        Order::Newest { before } => (asked!(model, kind, "<", "DESC"), *before),
    };
    let mut query = sqlx::query_as::<_, Row>(statement)
        .bind(end.0)
        .bind(from.0)
        .bind(to.0)
        .bind(limited(*limit));
    if let Some(model) = model {
        query = query.bind(model.as_str());
    }
    if let Some(kind) = kind {
        query = query.bind(kind.name());
    }
    query.fetch_all(db).await.map_err(failure::of_sql)
}

fn read((id, at, model, kind, detail): Row) -> Result<Event, Refusal> {
    Ok(Event {
        id: EventId(id),
        at: UnixMillis(at),
        model: model
            .parse()
            .map_err(|refusal| failure::of_record("model name", refusal))?,
        kind,
        detail: serde_json::from_str(&detail)
            .map_err(|error| failure::of_record("event", error))?,
    })
}
