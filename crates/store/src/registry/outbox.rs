//! What is to be told to receivers: written down before it is sent, and kept until it has been taken or given up.
//!
//! R1. What a receiver was told of a group and the delivery that tells it are one transaction: after a crash
//!     either both are known or neither.
//! R2. What was given up is kept as a dead letter, for a while, and can be tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::alert::notify::{Place, Sent};
use domain::alert::{Fingerprint, Incident, Labels, Moment, label};
use domain::{ModelName, Refusal};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::alerts::{get, stored, text};
use super::{Registry, limited};
use crate::failure;

/// For how long a dead letter is kept.
pub const DEAD_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// The most deliveries that wait, and the most dead letters: the oldest give way.
pub const DELIVERIES_MAX: i64 = 1000;

/// Something to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// To whom, of which group.
    pub place: Place,
    /// What is sent, as JSON.
    pub body: String,
    /// How many alerts it tells of.
    pub alerts: u32,
    /// What the receiver knows then.
    pub sent: Sent,
}

/// Something else than alerts to be told to a receiver, in the transaction of what it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// To whom.
    pub receiver: String,
    /// What is sent, as JSON.
    pub body: String,
}

/// Writes down what receivers are told of something of a model: what it is, and its id.
pub(super) async fn tell_receivers(
    db: &mut SqliteConnection,
    tellings: Vec<Telling>,
    (model, what, id): (&ModelName, &str, &str),
    now: Moment,
) -> Result<(), Refusal> {
    let about = [(label::MODEL, model.as_str()), (what, id)];
    let about = about.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let about = Labels::new(about.into());
    for Telling { receiver, body } in tellings {
        let place = Place {
            receiver,
            group: about.clone(),
        };
        insert(db, &place, (&body, 0), now).await?;
    }
    make_room(db).await
}

/// A delivery that waits, or a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// To whom, of which group.
    pub place: Place,
    /// When it was written.
    pub at: Moment,
    /// What is sent, as JSON.
    pub body: String,
    /// How many alerts it tells of.
    pub alerts: u32,
    /// Whether it was given up.
    pub dead: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Moment,
    /// Why it failed last; empty before it did.
    pub why: String,
}

/// How many deliveries there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// To be tried, or tried again.
    pub waiting: u64,
    /// Given up.
    pub dead: u64,
}

impl Registry {
    /// Writes down what is to be delivered and what its receivers know then. Where there is no room for it the
    /// oldest that waits becomes a dead letter.
    pub async fn enqueue(
        &self,
        deliveries: &[NewDelivery],
        forget: &[Place],
        now: Moment,
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        for delivery in deliveries {
            let (place, content) = (&delivery.place, (&delivery.body[..], delivery.alerts));
            insert(&mut db, place, content, now).await?;
            sqlx::query("INSERT OR REPLACE INTO alert_told VALUES (?, ?, ?, ?)")
                .bind(&place.receiver)
                .bind(group_text(place)?)
                .bind(delivery.sent.at.0)
                .bind(firing_text(&delivery.sent)?)
                .execute(&mut *db)
                .await
                .map_err(failure::of_sql)?;
        }
        for place in forget {
            sqlx::query("DELETE FROM alert_told WHERE receiver = ? AND grouped = ?")
                .bind(&place.receiver)
                .bind(group_text(place)?)
                .execute(&mut *db)
                .await
                .map_err(failure::of_sql)?;
        }
        make_room(&mut db).await?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// What every receiver was last told of every group.
    pub async fn told(&self) -> Result<BTreeMap<Place, Sent>, Refusal> {
        let rows = sqlx::query("SELECT receiver, grouped, at, firing FROM alert_told")
            .fetch_all(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        let read = |row: &SqliteRow| {
            let firing: Vec<(String, i64)> = stored(row, "firing")?;
            let firing: Result<BTreeSet<(Fingerprint, Incident)>, Refusal> = firing
                .into_iter()
                .map(|(fingerprint, incident)| Ok((fingerprint.parse()?, Incident(incident))))
                .collect();
            let at = Moment(get(row, "at")?);
            let firing = firing?;
            Ok((read_place(row)?, Sent { at, firing }))
        };
        rows.iter().map(read).collect()
    }

    /// The deliveries that wait, the oldest first; or the dead letters, the newest first.
    pub async fn deliveries(&self, dead: bool, limit: u32) -> Result<Vec<Delivery>, Refusal> {
        let statement = match dead {
            false => "SELECT * FROM deliveries WHERE state = 'waiting' ORDER BY id LIMIT ?",
            true => "SELECT * FROM deliveries WHERE state = 'dead' ORDER BY id DESC LIMIT ?",
        };
        let rows = sqlx::query(statement)
            .bind(limited(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        rows.iter().map(read_delivery).collect()
    }

    /// Where something waits to be delivered.
    pub async fn waiting_places(&self) -> Result<BTreeSet<Place>, Refusal> {
        let rows = sqlx::query(
            "SELECT DISTINCT receiver, grouped FROM deliveries WHERE state = 'waiting'",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(read_place).collect()
    }

    /// A delivery was taken: it is forgotten.
    pub async fn delivered(&self, id: i64) -> Result<(), Refusal> {
        sqlx::query("DELETE FROM deliveries WHERE id = ?")
            .bind(id)
            .execute(&self.writer)
            .await
            .map_err(failure::of_sql)?;
        Ok(())
    }

    /// A delivery failed: it is tried again at a moment, or given up where there is none.
    pub async fn delivery_failed(
        &self,
        id: i64,
        next: Option<Moment>,
        why: &str,
    ) -> Result<(), Refusal> {
        let state = if next.is_some() { "waiting" } else { "dead" };
        sqlx::query(
            "UPDATE deliveries SET attempts = attempts + 1, state = ?, why = ?,
             next_at = coalesce(?, next_at) WHERE id = ?",
        )
        .bind(state)
        .bind(why)
        .bind(next.map(|it| it.0))
        .bind(id)
        .execute(&self.writer)
        .await
        .map_err(failure::of_sql)?;
        Ok(())
    }

    /// A dead letter is to be tried again, from the first attempt on.
    pub async fn retry_delivery(&self, id: i64, now: Moment) -> Result<(), Refusal> {
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'waiting', attempts = 0, next_at = ?
             WHERE id = ? AND state = 'dead'",
        )
        .bind(now.0)
        .bind(id)
        .execute(&self.writer)
        .await
        .map_err(failure::of_sql)?;
        if done.rows_affected() == 0 {
            return Err(Refusal::UnknownDelivery { id: id.to_string() });
        }
        Ok(())
    }

    /// How many there are.
    pub async fn delivery_counts(&self) -> Result<DeliveryCounts, Refusal> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM deliveries GROUP BY state")
                .fetch_all(&self.readers)
                .await
                .map_err(failure::of_sql)?;
        let count = |state: &str| {
            let found = rows.iter().find(|it| it.0 == state);
            found.map_or(0, |it| it.1.unsigned_abs())
        };
        Ok(DeliveryCounts {
            waiting: count("waiting"),
            dead: count("dead"),
        })
    }
}

fn group_text(place: &Place) -> Result<String, Refusal> {
    let labels: BTreeMap<&str, &str> = place.group.iter().collect();
    text(&labels)
}

fn firing_text(sent: &Sent) -> Result<String, Refusal> {
    let pairs = sent.firing.iter();
    let pairs: Vec<(String, i64)> = pairs.map(|(it, at)| (it.to_string(), at.0)).collect();
    text(&pairs)
}

fn read_place(row: &SqliteRow) -> Result<Place, Refusal> {
    Ok(Place {
        receiver: get(row, "receiver")?,
        group: Labels::new(stored(row, "grouped")?),
    })
}

fn read_delivery(row: &SqliteRow) -> Result<Delivery, Refusal> {
    Ok(Delivery {
        id: get(row, "id")?,
        place: read_place(row)?,
        at: Moment(get(row, "at")?),
        body: get(row, "body")?,
        alerts: get(row, "alerts")?,
        dead: get::<String>(row, "state")? == "dead",
        attempts: get(row, "attempts")?,
        next_at: Moment(get(row, "next_at")?),
        why: get(row, "why")?,
    })
}

async fn insert(
    db: &mut SqliteConnection,
    place: &Place,
    (body, alerts): (&str, u32),
    now: Moment,
) -> Result<(), Refusal> {
    sqlx::query(
        "INSERT INTO deliveries
         (receiver, grouped, at, body, alerts, state, attempts, next_at, why)
         VALUES (?, ?, ?, ?, ?, 'waiting', 0, ?, '')",
    )
    .bind(&place.receiver)
    .bind(group_text(place)?)
    .bind(now.0)
    .bind(body)
    .bind(alerts)
    .bind(now.0)
    .execute(db)
    .await
    .map_err(failure::of_sql)?;
    Ok(())
}

/// The oldest give way where there are too many.
async fn make_room(db: &mut SqliteConnection) -> Result<(), Refusal> {
    for statement in [
        "UPDATE deliveries SET state = 'dead', why = 'too many others waited' WHERE id IN
         (SELECT id FROM deliveries WHERE state = 'waiting' ORDER BY id DESC LIMIT -1 OFFSET ?)",
        "DELETE FROM deliveries WHERE id IN
         (SELECT id FROM deliveries WHERE state = 'dead' ORDER BY id DESC LIMIT -1 OFFSET ?)",
    ] {
        sqlx::query(statement)
            .bind(DELIVERIES_MAX)
            .execute(&mut *db)
            .await
            .map_err(failure::of_sql)?;
    }
    Ok(())
}
