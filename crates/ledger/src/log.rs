//! The log: rows in the order in which they were answered, in segments of a fixed size.
//!
//! R1. A row that [`Log::append`] took is in a file: it survives the end of the process. It survives a loss
//!     of power once [`Log::synced`] has passed its place.
//! R2. `append` never waits for the disk: room is made ahead by [`Log::tend`], on a thread of its own. Where
//!     there is none, be the disk full or slow, it says so at once. (A record larger than the room that is
//!     kept ahead has its own made under the lock; they are rare.)
//! R3. A segment whose synchronisation failed is written no further: what the system says of it afterwards
//!     cannot be believed. What was appended to it is read all the same.
//! R4. Every segment begins the layouts that its rows have: it can be read alone.

mod frame;
mod lost;
mod map;
mod segment;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Refusal;
use tokio::sync::watch;

pub(crate) use frame::{Found, Frames, framed_bytes, head};
use lost::Lost;
pub(crate) use segment::{Readable, Segment, open_old, segments_in};

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Bytes of a segment.
    pub(crate) segment_bytes: usize,
    /// Segments that may wait to be sealed; with more, no room is made.
    pub(crate) segments_max: usize,
    /// The longest that a row is not on disk.
    pub(crate) sync_every: Duration,
}

/// Room that is kept ready ahead of the last record, and what is prepared at a time.
const AHEAD_BYTES: usize = 1 << 20;
/// The most of the next record's place that is asked for ahead.
const EXPECTED_BYTES: usize = 512;
/// Pages are prepared and let go in such pieces.
const PIECE_BYTES: usize = 64 << 10;
/// How often room is asked for again where there was none.
const RETRY: Duration = Duration::from_millis(500);

/// There is no room for a record now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// How far the log is on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Synced {
    /// Everything before this place is.
    pub(crate) place: u64,
    /// Everything before this place that is not on disk never will be, and why.
    pub(crate) failed: Option<(u64, String)>,
}

struct Current {
    segment: Arc<Segment>,
    /// Where the next record goes.
    at: usize,
    prepared: usize,
    /// The place, counted over all segments, at which the segment begins.
    base: u64,
    /// Layouts that the segment has, by their number.
    layouts: Vec<u32>,
    /// When its first row came.
    first_ms: Option<i64>,
    /// Up to here it is on disk, and its memory was given back.
    synced: usize,
}

struct State {
    current: Option<Current>,
    next: Option<Arc<Segment>>,
    /// Written to no more, the oldest first.
    closed: VecDeque<Closed>,
    next_number: u64,
    /// The largest room that one record took.
    largest: usize,
    /// Somebody waits until the log is on disk.
    wanted: bool,
    /// Who makes room was told that it runs low, and has not looked since.
    room_asked: bool,
    /// Why no room can be made.
    no_room: Option<String>,
    /// Bytes appended since the start.
    place: u64,
    stopping: bool,
}

/// A segment that is full, or was closed to be sealed.
#[derive(Clone)]
pub(crate) struct Closed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: usize,
    synced: bool,
}

impl Closed {
    pub(crate) fn readable(&self) -> Result<Readable, Refusal> {
        self.segment.readable(self.end)
    }
}

/// A layout as records refer to it.
pub(crate) struct LayoutRecord {
    pub(crate) number: u32,
    pub(crate) bytes: Vec<u8>,
}

/// The log of a data folder.
pub(crate) struct Log {
    folder: PathBuf,
    settings: Settings,
    state: Mutex<State>,
    /// Held by who makes room.
    making: Mutex<()>,
    /// Rows that there was no room for.
    pub(crate) lost: Lost,
    /// Told when room is wanted.
    wake_room: Condvar,
    /// Told when somebody waits for the disk.
    wake_disk: Condvar,
    synced: watch::Sender<Synced>,
    /// Told when room was made.
    room: watch::Sender<()>,
}

impl Log {
    /// A log that begins with segment `number`; there must be no such file. It has no room before
    /// [`Log::make_room`] or [`Log::tend`] has made some: who only looks leaves no files behind.
    pub(crate) fn open(folder: &Path, settings: Settings, number: u64) -> io::Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            lost: Lost::open(folder)?,
            settings,
            state: Mutex::new(State {
                current: None,
                next: None,
                closed: VecDeque::new(),
                next_number: number,
                largest: 0,
                wanted: false,
                room_asked: false,
                no_room: None,
                place: 0,
                stopping: false,
            }),
            making: Mutex::new(()),
            wake_room: Condvar::new(),
            wake_disk: Condvar::new(),
            synced: watch::Sender::default(),
            room: watch::Sender::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole: a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record with `rows` rows. Gives the place behind it.
    pub(crate) fn append(
        &self,
        layout: Option<&LayoutRecord>,
        rows: u32,
        record: &[u8],
        now_ms: i64,
    ) -> Result<u64, NoRoom> {
        let record_head = head(record, rows);
        let size = framed_bytes(record.len());
        let mut guard = self.lock();
        let state = &mut *guard;
        state.largest = state.largest.max(size);
        let behind = layout.map_or(0, |it| framed_bytes(it.bytes.len()));
        // The layout may have to be written too: ask for both, so that they are in one segment.
        if !self.has_room(state, size + behind) {
            self.wake_room.notify_one();
            return Err(NoRoom);
        }
        let Some(current) = &mut state.current else {
            return Err(NoRoom);
        };
        if let Some(layout) = layout
            && !current.layouts.contains(&layout.number)
        {
            current.put(&head(&layout.bytes, 0), &layout.bytes);
            current.layouts.push(layout.number);
        }
        current.put(&record_head, record);
        current.first_ms.get_or_insert(now_ms);
        state.place = current.base + current.at as u64;
        let place = state.place;
        // Where the caches fetch ahead by themselves, behind some lines, they need no word of it.
        current
            .segment
            .map
            .expect(current.at, size.min(EXPECTED_BYTES));
        // Waking costs a call into the system, so it is done once for each room that is made.
        let low = current.prepared < self.settings.segment_bytes
            && current.prepared - current.at < AHEAD_BYTES / 2;
        if low && !state.room_asked {
            state.room_asked = true;
            self.wake_room.notify_one();
        }
        Ok(place)
    }

    /// Whether a record of this size fits; moves to the next segment where it does not fit this one.
    fn has_room(&self, state: &mut State, size: usize) -> bool {
        let full = |it: &Current| it.at + size > self.settings.segment_bytes;
        if state.current.as_ref().is_none_or(full) {
            let Some(next) = state.next.take() else {
                return false;
            };
            state.close_current();
            state.current = Some(Current {
                segment: next,
                at: 0,
                prepared: AHEAD_BYTES.min(self.settings.segment_bytes),
                base: state.place,
                layouts: Vec::new(),
                first_ms: None,
                synced: 0,
            });
            self.wake_room.notify_one();
        }
        let Some(current) = &mut state.current else {
            return false;
        };
        let end = current.at + size;
        if end > self.settings.segment_bytes {
            return false;
        }
        if end > current.prepared && size > AHEAD_BYTES / 4 {
            let to = end
                .next_multiple_of(PIECE_BYTES)
                .min(self.settings.segment_bytes);
            let segment = &current.segment;
            if segment
                .map
                .prepare(&segment.file, current.prepared..to)
                .is_ok()
            {
                current.prepared = to;
            }
        }
        end <= current.prepared
    }

    /// Told when room was made, after `append` found none.
    pub(crate) fn room(&self) -> watch::Receiver<()> {
        self.room.subscribe()
    }

    /// How far the log is on disk, from now on.
    pub(crate) fn synced(&self) -> watch::Receiver<Synced> {
        self.synced.subscribe()
    }

    /// Resolves when everything before `place` is on disk, or with why it never will be.
    pub(crate) async fn until_synced(&self, place: u64) -> Result<(), String> {
        let mut synced = self.synced();
        if synced.borrow().place < place {
            self.lock().wanted = true;
            self.wake_disk.notify_one();
        }
        let settled = |it: &Synced| {
            it.place >= place
                || it
                    .failed
                    .as_ref()
                    .is_some_and(|(failed, _)| *failed >= place)
        };
        let state = synced.wait_for(settled).await;
        let Ok(state) = state else {
            return Err("the ledger is closed".to_owned());
        };
        match &state.failed {
            Some((failed, why)) if state.place < place && *failed >= place => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// Why no room can be made now.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.lock().no_room.clone()
    }

    /// Ends the current segment, so that it can be sealed. Where it has no rows nothing happens; nor where no
    /// other could be made, for what room it has is then all the room that there is.
    pub(crate) fn close_segment(&self) {
        self.make_room();
        let mut state = self.lock();
        if state.next.is_some() && state.current.as_ref().is_some_and(|it| it.at > 0) {
            state.close_current();
        }
        drop(state);
        self.make_room();
    }

    /// When the first row came that lies in a segment that is still written to, and the bytes there.
    pub(crate) fn open_rows(&self) -> Option<(i64, usize)> {
        let state = self.lock();
        let current = state.current.as_ref()?;
        Some((current.first_ms?, current.at))
    }

    /// Every closed segment, the oldest first.
    pub(crate) fn closed(&self) -> Vec<Closed> {
        self.lock().closed.iter().cloned().collect()
    }

    /// Forgets a closed segment, which was sealed, and removes its file.
    pub(crate) fn remove(&self, number: u64) -> io::Result<()> {
        let mut state = self.lock();
        let place = state
            .closed
            .iter()
            .position(|it| it.segment.number == number);
        let Some(closed) = place.and_then(|place| state.closed.remove(place)) else {
            return Ok(());
        };
        drop(state);
        self.wake_room.notify_one();
        std::fs::remove_file(&closed.segment.path)
    }

    /// Everything that can be read now.
    pub(crate) fn readable(&self) -> Result<Vec<Readable>, Refusal> {
        let state = self.lock();
        let closed = state.closed.iter().map(|it| (&it.segment, it.end));
        let current = state.current.iter().map(|it| (&it.segment, it.at));
        closed
            .chain(current)
            .map(|(segment, end)| segment.readable(end))
            .collect()
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.lock();
        let count = state.closed.len() + usize::from(state.current.is_some());
        (count * self.settings.segment_bytes) as u64
    }

    /// Makes room and brings the log to the disk until told to stop. The last thing that it does is to bring
    /// to the disk what was appended. Two threads, because a disk may take its time to synchronise, and room is
    /// needed meanwhile.
    pub(crate) fn tend(&self) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.tend_room());
            self.tend_disk();
        });
    }

    fn tend_room(&self) {
        loop {
            let made = self.make_room();
            let state = self.lock();
            if state.stopping {
                return;
            }
            if self.wants_room(&state) && made {
                continue;
            }
            // Where there was no room, it is tried again.
            drop(
                self.wake_room
                    .wait_timeout(state, RETRY)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    fn tend_disk(&self) {
        loop {
            self.sync();
            let state = self.lock();
            if state.stopping {
                drop(state);
                self.sync();
                self.finish();
                return;
            }
            if state.wanted {
                continue;
            }
            drop(
                self.wake_disk
                    .wait_timeout(state, self.settings.sync_every)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    /// Lets `tend` end.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.wake_room.notify_all();
        self.wake_disk.notify_all();
    }

    /// Nothing is appended from now on. What is not used is given back, so that the next start reads less.
    fn finish(&self) {
        let mut state = self.lock();
        if let Some(current) = &state.current {
            let end = current.at as u64;
            // Its memory behind the end is not touched any more: there is no current segment from here on.
            if let Err(error) = current.segment.file.set_len(end) {
                tracing::debug!(%error, "a segment was not cut to its length");
            }
        }
        state.close_current();
        let next = state.next.take();
        drop(state);
        if let Some(next) = next
            && let Err(error) = std::fs::remove_file(&next.path)
        {
            // It is empty, so the next start removes it.
            tracing::debug!(%error, "an unused segment was not removed");
        }
    }

    fn wants_room(&self, state: &State) -> bool {
        let current = state.current.as_ref();
        state.next.is_none()
            || current.is_some_and(|it| {
                it.prepared < self.settings.segment_bytes
                    && it.prepared - it.at < self.ahead(state) * 3 / 4
            })
    }

    fn ahead(&self, state: &State) -> usize {
        AHEAD_BYTES.max((state.largest * 2).next_multiple_of(PIECE_BYTES))
    }

    /// Prepares what comes next. Says whether there is as much room as there should be.
    pub(crate) fn make_room(&self) -> bool {
        // One at a time: two would make the same segment.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // First of all what counts the rows that there is no room for.
        if let Err(error) = self.lost.prepare() {
            self.lock().no_room = Some(why_no_room("counting lost rows", &error));
            return false;
        }
        let mut state = self.lock();
        state.room_asked = false;
        let ahead = self.ahead(&state);
        let bytes = self.settings.segment_bytes;
        let grow = state.current.as_ref().and_then(|it| {
            let to = (it.at + ahead).next_multiple_of(PIECE_BYTES).min(bytes);
            (to > it.prepared).then(|| (Arc::clone(&it.segment), it.prepared, to))
        });
        let waiting = state.closed.len();
        let new = state.next.is_none().then_some(state.next_number);
        drop(state);
        let mut made = true;
        if let Some((segment, from, to)) = grow {
            match segment.map.prepare(&segment.file, from..to) {
                Ok(()) => {
                    let mut state = self.lock();
                    if let Some(current) = &mut state.current
                        && current.segment.number == segment.number
                    {
                        current.prepared = current.prepared.max(to);
                    }
                }
                Err(error) => {
                    made = false;
                    self.lock().no_room = Some(why_no_room("making room in the log", &error));
                }
            }
        }
        if let Some(number) = new {
            made &= self.make_segment(number, waiting);
        }
        if made {
            self.lock().no_room = None;
            self.room.send_replace(());
        }
        made
    }

    fn make_segment(&self, number: u64, waiting: usize) -> bool {
        if waiting >= self.settings.segments_max {
            let why = format!("{waiting} segments of the log wait to be sealed");
            self.lock().no_room = Some(why);
            return false;
        }
        let created = Segment::create(&self.folder, number, self.settings.segment_bytes);
        let mut state = self.lock();
        match created {
            Ok(segment) => {
                state.next_number = number + 1;
                state.next = Some(Arc::new(segment));
                true
            }
            Err(error) => {
                // A full disk may leave a name behind that could not be removed.
                if error.kind() == io::ErrorKind::AlreadyExists {
                    state.next_number = number + 1;
                }
                state.no_room = Some(why_no_room("making a segment of the log", &error));
                false
            }
        }
    }

    /// Brings everything to the disk that was appended before.
    fn sync(&self) {
        let mut state = self.lock();
        state.wanted = false;
        let place = state.place;
        let mut segments: Vec<(Arc<Segment>, usize)> = state
            .closed
            .iter()
            .filter(|it| !it.synced)
            .map(|it| (Arc::clone(&it.segment), it.end))
            .collect();
        segments.extend(
            state
                .current
                .iter()
                .filter(|it| it.at > it.synced)
                .map(|it| (Arc::clone(&it.segment), it.at)),
        );
        drop(state);
        if let Err(error) = self.lost.sync() {
            tracing::error!(%error, "the count of lost rows could not be brought to the disk");
        }
        if segments.is_empty() {
            return;
        }
        for (segment, end) in segments {
            let result = segment.file.sync_data();
            let mut state = self.lock();
            if let Err(error) = result {
                return self.sync_failed(state, &segment, place, &error);
            }
            state.mark_synced(&segment, end);
        }
        self.synced.send_modify(|it| it.place = it.place.max(place));
    }

    /// R3.
    fn sync_failed(
        &self,
        mut state: MutexGuard<'_, State>,
        segment: &Segment,
        place: u64,
        error: &io::Error,
    ) {
        tracing::error!(%error, segment = segment.number, "the log could not be brought to the disk");
        if state
            .current
            .as_ref()
            .is_some_and(|it| it.segment.number == segment.number)
        {
            state.close_current();
        }
        for closed in &mut state.closed {
            if closed.segment.number == segment.number {
                closed.synced = true;
            }
        }
        drop(state);
        let why = format!("bringing the log to the disk: {error}");
        self.synced.send_modify(|it| it.failed = Some((place, why)));
    }
}

fn why_no_room(doing: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => format!("{doing}: the disk is full"),
        io::ErrorKind::QuotaExceeded => format!("{doing}: the disk's quota is used up"),
        _ => format!("{doing}: {error}"),
    }
}

impl Current {
    fn put(&mut self, head: &[u8], record: &[u8]) {
        self.segment.map.store(self.at, head);
        self.segment.map.store(self.at + head.len(), record);
        self.at += framed_bytes(record.len());
    }
}

impl State {
    fn close_current(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        self.closed.push_back(Closed {
            synced: current.synced == current.at,
            segment: current.segment,
            end: current.at,
        });
    }

    fn mark_synced(&mut self, segment: &Segment, end: usize) {
        for closed in &mut self.closed {
            if closed.segment.number == segment.number {
                closed.synced |= closed.end <= end;
            }
        }
        if let Some(current) = &mut self.current
            && current.segment.number == segment.number
        {
            // The page that is being written to stays.
            let from = current.synced / PIECE_BYTES * PIECE_BYTES;
            let to = end / PIECE_BYTES * PIECE_BYTES;
            if to > from {
                segment.map.forget(from..to);
            }
            current.synced = end;
        }
    }
}
