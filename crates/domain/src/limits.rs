//! Every upper bound of the server, declared once: the flags, the refusals and `docs/limits.md` come
//! from this table.

/// One bound: how it is set and what it holds for.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The flag's and the setting's name.
    pub name: &'static str,
    /// Its value unless it is set.
    pub default: u64,
    /// The smallest value it may be set to.
    pub least: u64,
    /// What it counts.
    pub unit: &'static str,
    /// What it bounds and what happens over it.
    pub about: &'static str,
}

macro_rules! limits {
    ($($field:ident = $default:expr, $least:expr, $unit:literal, $about:literal;)*) => {
        /// The values in force.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $about] pub $field: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// All of them, in the order of the documentation.
        pub const ALL: &[Limit] = &[
            $(Limit {
                name: stringify!($field),
                default: $default,
                least: $least,
                unit: $unit,
                about: $about,
            },)*
        ];

        impl Limits {
            /// The value of the limit with this name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($field) => Some(self.$field),)*
                    _ => None,
                }
            }

            /// Sets the limit with this name; an error says what is wrong with the name or the value.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
                let Some(limit) = ALL.iter().find(|it| it.name == name) else {
                    let known: Vec<&str> = ALL.iter().map(|it| it.name).collect();
                    return Err(format!("no limit `{name}`; the limits are {}", known.join(", ")));
                };
                if value < limit.least {
                    return Err(format!("`{name}` is {value}, at least {} is needed", limit.least));
                }
                match name {
                    $(stringify!($field) => self.$field = value,)*
                    _ => {}
                }
                Ok(())
            }
        }
    };
}

limits! {
    connections_max = 8192, 1, "connections",
        "Open connections. One more is closed at once.";
    first_byte_ms_max = 10_000, 10, "ms",
        "From accepting a connection to its first byte. Over it the connection is closed.";
    headers_ms_max = 60_000, 10, "ms",
        "From a connection's being free for a request to the end of that request's headers. Over it the connection is closed.";
    body_ms_max = 30_000, 10, "ms",
        "For a body to arrive, and a second more for each 64 KiB of it that has. Over it the answer is 408.";
    write_ms_max = 60_000, 10, "ms",
        "Without the reader taking a byte of an answer. Over it the connection is closed.";
    headers_bytes_max = 65_536, 8192, "bytes",
        "All headers of a request. Over it the answer is 431.";
    headers_max = 100, 16, "headers",
        "Headers of an HTTP/1.1 request. Over it the answer is 431.";
    body_bytes_max = 256 * 1024 * 1024, 1024, "bytes",
        "A request's body as it was sent. Over it the answer is 413.";
    decoded_bytes_max = 256 * 1024 * 1024, 1024, "bytes",
        "A request's body after decompression. Over it the answer is 413.";
    elements_max = 256 * 1024 * 1024, 1, "elements",
        "The product of a tensor's shape. Over it the answer is 413.";
    rank_max = 32, 1, "axes",
        "The axes of a tensor. Over it the answer is 400.";
    json_depth_max = 64, 8, "levels",
        "Nesting of a JSON body. Over it the answer is 400.";
    rows_waiting_max = 4096, 1, "rows",
        "Rows waiting for one version. Over it the answer is 503 with Retry-After.";
    requests_max = 16_384, 1, "requests",
        "Requests being worked on. Over it the answer is 503 with Retry-After.";
    streams_max = 256, 1, "streams",
        "Requests at a time on one HTTP/2 connection.";
    stream_requests_max = 64, 1, "requests",
        "Requests of one gRPC stream being worked on; the stream is not read further until one is answered.";
    listeners_max = 256, 1, "listeners",
        "Those who listen to events or to what is served now. Over it the answer is 503 with Retry-After.";
    blob_bytes_max = 16 * 1024 * 1024 * 1024, 1024, "bytes",
        "One file of a pushed model. Over it the answer is 413.";
    files_max = 1024, 1, "files",
        "Files of one version. Over it the push is refused.";
    query_ms_max = 60_000, 10, "ms",
        "Answering a question to the ledger, waiting for a place included. Over it the answer is 504.";
    query_rows_max = 10_000, 1, "rows",
        "Rows of an answer in JSON; more are cut off, and it says so. A file has no such bound.";
    query_memory_bytes_max = 512 * 1024 * 1024, 1 << 20, "bytes",
        "Memory of a question in SQL. What does not fit goes to files; where that is not possible the answer is 422.";
    query_spill_bytes_max = 4 * 1024 * 1024 * 1024, 0, "bytes",
        "Files of a question in SQL. Over it the answer is 422.";
    labels_max = 1_000_000, 1, "labels",
        "Labels of one request. Over it the answer is 413.";
    drain_ms_max = 30_000, 0, "ms",
        "From SIGTERM until requests still being worked on are cut off.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_read_and_set_by_its_name() {
        let mut limits = Limits::default();
        for limit in ALL {
            assert_eq!(
                limits.get(limit.name),
                Some(limit.default),
                "{}",
                limit.name
            );
            assert!(limit.least <= limit.default, "{}", limit.name);
            limits
                .set(limit.name, limit.default + 1)
                .expect("above the least");
            assert_eq!(limits.get(limit.name), Some(limit.default + 1));
        }
        assert!(limits.set("rank_max", 0).is_err());
        assert!(limits.set("no_such", 1).is_err());
    }
}
