//! What monitors found: each look of theirs, the newest of each model.
//!
//! R1. A look comes in and the oldest that gives way to it goes in one transaction.
//! R2. Looks go with their model.

use domain::alert::{Evidence, Finding, Moment, Severity, Verdict};
use domain::{ModelName, Refusal, Version};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::alerts::{get, parsed, stored, text};
use super::{Registry, model_id, version_of};
use crate::failure;

/// The format of the JSON.
const FORMAT: i64 = 1;

/// The looks of a model that are kept.
pub const LOOKS_MAX: i64 = 2000;
/// Bytes of a model's looks that are kept; the newest is in any case.
pub const BYTES_MAX: i64 = 8 << 20;
/// The most looks that one call lists: each may hold many findings.
pub const LOOKS_LIST_MAX: u32 = 200;

/// Which monitors looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Those that look as often as the manifest says.
    Windows,
    /// Those that follow series by the minute.
    Series,
}

/// A look that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewLook<'a> {
    /// At which model.
    pub model: &'a ModelName,
    /// At which version of it.
    pub version: Version,
    /// When.
    pub at: Moment,
    /// Which monitors looked.
    pub kind: Kind,
    /// What they found.
    pub findings: &'a [Finding],
}

/// A look as it was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Its place in the order of all of them.
    pub id: i64,
    /// At which version.
    pub version: Version,
    /// When.
    pub at: Moment,
    /// Which monitors looked.
    pub kind: Kind,
    /// What they found.
    pub findings: Vec<Finding>,
}

/// Which looks at a model are asked for. Those that found nothing of what is asked for are left out.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What one monitor found; without it all.
    pub monitor: Option<&'a str>,
    /// What was found of one thing; without it of all.
    pub subject: Option<&'a str>,
    /// From this moment up to the other.
    pub within: (Moment, Moment),
    /// Those before this one; without it the newest.
    pub before: Option<i64>,
    /// How many; more than [`LOOKS_LIST_MAX`] are that many.
    pub limit: u32,
}

impl Registry {
    /// Keeps what was found at a look; the oldest of the model give way (R1).
    pub async fn keep_look(&self, look: &NewLook<'_>) -> Result<(), Refusal> {
        let NewLook {
            model,
            version,
            at,
            kind,
            findings,
        } = look;
        let findings: Vec<Stored> = findings.iter().map(Stored::of).collect();
        let findings = text(&findings)?;
        let mut db = self.begin().await?;
        let id = model_id(&mut db, model).await?;
        sqlx::query(
            "INSERT INTO looks (model_id, version, at_ms, series, format, findings)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(version.number())
        .bind(at.0)
        .bind(*kind == Kind::Series)
        .bind(FORMAT)
        .bind(findings)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        // How long a text is stands in its row's head: none of them is read.
        sqlx::query(
            "DELETE FROM looks WHERE model_id = ?1 AND id <=
             (SELECT max(id) FROM
                 (SELECT id, row_number() OVER newest AS place,
                         sum(octet_length(findings)) OVER newest AS bytes
                  FROM looks WHERE model_id = ?1 WINDOW newest AS (ORDER BY id DESC))
              WHERE place > ?2 OR bytes > ?3 AND place > 1)",
        )
        .bind(id)
        .bind(LOOKS_MAX)
        .bind(BYTES_MAX)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// What was found at looks at a model, the newest first; nothing of a model that is not there.
    pub async fn looks(&self, model: &ModelName, asked: &Asked<'_>) -> Result<Vec<Look>, Refusal> {
        let Asked {
            monitor,
            subject,
            within: (from, to),
            before,
            limit,
        } = asked;
        let rows = sqlx::query(
            "SELECT looks.* FROM models JOIN looks ON model_id = models.id
             WHERE name = ?1 AND looks.id < ?2 AND at_ms >= ?3 AND at_ms < ?4
               AND (?5 IS NULL AND ?6 IS NULL OR EXISTS
                   (SELECT 1 FROM json_each(findings)
                    WHERE (?5 IS NULL OR value ->> 'monitor' = ?5)
                      AND (?6 IS NULL OR value ->> 'subject' = ?6)))
             ORDER BY looks.id DESC LIMIT ?7",
        )
        .bind(model.as_str())
        .bind(before.unwrap_or(i64::MAX))
        .bind(from.0)
        .bind(to.0)
        .bind(*monitor)
        .bind(*subject)
        .bind((*limit).min(LOOKS_LIST_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let wanted = |it: &Finding| {
            monitor.is_none_or(|monitor| it.monitor == monitor)
                && subject.is_none_or(|subject| it.subject == subject)
        };
        let looks = rows.iter().map(|row| {
            let mut look = read(row, model)?;
            look.findings.retain(wanted);
            Ok(look)
        });
        looks.collect()
    }

    /// The newest look at every model by each kind of monitors.
    pub async fn newest_looks(&self) -> Result<Vec<(ModelName, Look)>, Refusal> {
        let rows = sqlx::query(
            "SELECT name, looks.* FROM looks JOIN models ON model_id = models.id
             WHERE looks.id IN (SELECT max(id) FROM looks GROUP BY model_id, series)
             ORDER BY looks.id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let looks = rows.iter().map(|row| {
            let model: ModelName = parsed(row, "name")?;
            let look = read(row, &model)?;
            Ok((model, look))
        });
        looks.collect()
    }
}

/// Takes all looks at a model out.
pub(super) const REMOVE: &str = "DELETE FROM looks WHERE model_id = ?";

/// A finding on the disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    monitor: String,
    subject: String,
    segment: Option<String>,
    version: Option<u32>,
    verdict: String,
    severity: Severity,
    summary: String,
    evidence: Evidence,
}

impl Stored {
    fn of(finding: &Finding) -> Self {
        let Finding {
            model: _,
            version,
            monitor,
            subject,
            segment,
            verdict,
            severity,
            summary,
            evidence: _,
        } = finding;
        Self {
            monitor: monitor.clone(),
            subject: subject.clone(),
            segment: segment.clone(),
            version: version.map(Version::number),
            verdict: verdict.name().to_owned(),
            severity: *severity,
            summary: summary.clone(),
            evidence: finding.storable_evidence(),
        }
    }

    fn finding(self, model: &ModelName) -> Result<Finding, Refusal> {
        let Self {
            monitor,
            subject,
            segment,
            version,
            verdict,
            severity,
            summary,
            evidence,
        } = self;
        let verdict = Verdict::from_name(&verdict)
            .ok_or_else(|| failure::of_record("finding", format!("its verdict is `{verdict}`")))?;
        Ok(Finding {
            model: model.clone(),
            version: version.and_then(Version::new),
            monitor,
            subject,
            segment,
            verdict,
            severity,
            summary,
            evidence,
        })
    }
}

fn read(row: &SqliteRow, model: &ModelName) -> Result<Look, Refusal> {
    let format: i64 = get(row, "format")?;
    if format != FORMAT {
        let why = format!("its format is {format}, this Windlass reads {FORMAT}");
        return Err(failure::of_record("look", why));
    }
    let findings: Vec<Stored> = stored(row, "findings")?;
    let findings = findings.into_iter().map(|it| it.finding(model));
    let series: bool = row.try_get("series").map_err(failure::of_sql)?;
    Ok(Look {
        id: get(row, "id")?,
        version: version_of(get(row, "version")?)?,
        at: Moment(get(row, "at_ms")?),
        kind: if series { Kind::Series } else { Kind::Windows },
        findings: findings.collect::<Result<_, _>>()?,
    })
}
