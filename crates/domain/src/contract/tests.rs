use super::*;

/// Inputs are lines `NAME TYPE COLUMNS`, what is known lines `COLUMN LEAST..GREATEST` or `COLUMN TEXT|TEXT`, with the
/// number of missing values of 100 behind it. A request has a line for each input, its rows between `/`, `-` for an
/// empty text.
fn contract(inputs: &str, said: &str, known: Option<&str>) -> (Contract, Vec<Input>) {
    let input = |line: &str| {
        let mut words = line.split_whitespace();
        let datatype = words.next().expect("a type");
        Input {
            datatype: DataType::from_name(datatype).expect("a type"),
            columns: words.map(str::to_owned).collect(),
        }
    };
    let inputs: Vec<Input> = inputs.lines().map(input).collect();
    let setting = serde_json::from_str(said).expect("settings");
    let of = |name: &str| {
        let line = known?
            .lines()
            .find(|it| it.split_whitespace().next() == Some(name))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut known = Known {
            rows: 100,
            missing: words.get(2).map_or(0, |it| it.parse().expect("a count")),
            ..Known::default()
        };
        match words[1].split_once("..") {
            Some((least, greatest)) => {
                let end = |it: &str| it.parse().expect("a number");
                known.range = Some((end(least), end(greatest)));
            }
            None => known.levels = Some(words[1].split('|').map(str::to_owned).collect()),
        }
        Some(known)
    };
    let contract = Contract::new(&setting, &inputs, known.map(|_| &of as _));
    (contract, inputs)
}

fn tensors(inputs: &[Input], request: &str) -> (Vec<Tensor>, usize) {
    let mut rows = 0;
    let tensor = |(input, line): (&Input, &str)| {
        let words: Vec<&str> = line.split_whitespace().filter(|it| *it != "/").collect();
        rows = line.split('/').count();
        let elements = match input.datatype {
            DataType::Fp32 => {
                let numbers: Vec<f32> = words.iter().map(|it| it.parse().expect("it")).collect();
                Elements::from_slice(&numbers)
            }
            DataType::Fp64 => {
                let numbers: Vec<f64> = words.iter().map(|it| it.parse().expect("it")).collect();
                Elements::from_slice(&numbers)
            }
            DataType::Int64 => {
                let numbers: Vec<i64> = words.iter().map(|it| it.parse().expect("it")).collect();
                Elements::from_slice(&numbers)
            }
            DataType::Bytes => {
                let text = |it: &&str| match *it {
                    "-" => Vec::new(),
                    it => it.as_bytes().to_vec(),
                };
                Elements::Bytes(words.iter().map(text).collect())
            }
            other => panic!("{other}"),
        };
        Tensor::new(vec![rows, words.len() / rows], elements).expect("it fits")
    };
    let lines = request.lines().map(str::trim);
    let tensors = inputs.iter().zip(lines).map(tensor).collect();
    (tensors, rows)
}

/// `COLUMN RULE ROWS, ..`, then what it comes to.
fn show(contract: &Contract, checked: &Checked) -> String {
    let terms = contract.terms().filter_map(|(place, term)| {
        let rows = checked.rows.get(place).copied().filter(|it| *it > 0)?;
        let column = term.column.as_deref().unwrap_or("rows");
        let tolerated = if term.tolerated { " tolerated" } else { "" };
        Some(format!("{column} {} {rows}{tolerated}", term.rule.name()))
    });
    let mut parts = vec![terms.collect::<Vec<_>>().join(", ")];
    parts.extend(checked.refusal.as_ref().map(|it| format!("refused: {it}")));
    parts.extend(checked.warning.as_ref().map(|it| format!("warned: {it}")));
    parts.join(" => ")
}

fn check(inputs: &str, said: &str, known: Option<&str>, request: &str, want: &str) {
    let (contract, inputs) = contract(inputs, said, known);
    let (tensors, rows) = tensors(&inputs, request);
    assert_eq!(show(&contract, &contract.check(&tensors, rows)), want);
}

const CREDIT: &str = "FP32 age income\nBYTES home";
const KNOWN: Option<&str> = Some("age 18..90\nincome 0..0.1 5\nhome rent|own");

#[test]
fn what_the_reference_has_is_fine() {
    check(CREDIT, "{}", KNOWN, "18 0 / 90 0.1\nrent / own", "");
    check(CREDIT, "{}", None, "NaN 1e9 / NaN inf\n- / x", "");
    check("FP32 a", "{}", Some("a 0..inf"), "inf", "");
    check("INT64 a", "{}", Some("a -5..5"), "-5 / 5", "");
}

#[test]
fn what_it_has_none_of_is_counted() {
    check(
        CREDIT,
        "{}",
        KNOWN,
        "17 0 / NaN NaN / inf -inf\nrent / - / RENT",
        "age range 2, age missing 1, income range 1, income missing 1 tolerated, \
         home missing 1, home unseen 1",
    );
    check("INT64 a", "{}", Some("a -5..5"), "-6 / 5 / 9", "a range 2");
    let off = r#"{"range":"off","missing":"off","unseen":"off"}"#;
    check(CREDIT, off, KNOWN, "17 0 / NaN NaN\n- / x", "");
}

#[test]
fn a_refusal_names_the_first_row_and_what_was_expected() {
    let said = r#"{"range":"refuse","missing":"refuse","unseen":"warn"}"#;
    check(
        CREDIT,
        said,
        KNOWN,
        "18 0 / 18 0.2 / 5 0\nrent / rent / boat",
        "age range 1, income range 1, home unseen 1 => \
         refused: row 1 of `income` is `0.20000000298023224`, want a number from 0 to 0.10000000149011612",
    );
    check(
        CREDIT,
        said,
        KNOWN,
        "18 NaN\nboat",
        "income missing 1 tolerated, home unseen 1 => \
         warned: row 0 of `home` is `boat`, want one of `own`, `rent`",
    );
    check(
        CREDIT,
        r#"{"columns":{"income":{"missing":"refuse"}}}"#,
        KNOWN,
        "18 NaN\nown",
        "income missing 1 => refused: row 0 of `income` is missing, want a value",
    );
    let warn = r#"{"range":"warn"}"#;
    let four = Some("a 0..1\nb 0..1\nc 0..1\nd 0..1");
    check(
        "FP32 a b c d",
        warn,
        four,
        "2 -1e30 3 4",
        "a range 1, b range 1, c range 1, d range 1 => \
         warned: row 0 of `a` is `2`, want a number from 0 to 1; row 0 of `b` is `-1.0000000150474662e30`, \
         want a number from 0 to 1; row 0 of `c` is `3`, want a number from 0 to 1; and 1 more",
    );
}

#[test]
fn what_the_owner_says_goes_first_and_needs_no_reference() {
    let said = r#"{"columns":{"age":{"range":"refuse","greatest":0.1},"home":{"levels":["x"],"unseen":"warn"}}}"#;
    check(CREDIT, said, None, "0.1 5\nx", "");
    check(
        CREDIT,
        said,
        None,
        "0.2 5\ny",
        "age range 1, home unseen 1 => \
         refused: row 0 of `age` is `0.20000000298023224`, want a number of at most 0.10000000149011612",
    );
    let empty = r#"{"missing":"refuse","columns":{"home":{"levels":["","own"]}}}"#;
    check(CREDIT, empty, KNOWN, "18 0 / 18 0\n- / own", "");
    let empty = r#"{"columns":{"home":{"levels":["","own"],"unseen":"refuse"}}}"#;
    check(
        CREDIT,
        empty,
        KNOWN,
        "18 0\nx",
        "home unseen 1 => refused: row 0 of `home` is `x`, want one of `own`",
    );
    let least = r#"{"columns":{"age":{"least":0}}}"#;
    check(CREDIT, least, KNOWN, "0 0 / 91 0\nown / own", "age range 1");
}

#[test]
fn rows_that_are_odd_as_a_whole() {
    let three = "FP64 a b\nFP64 c";
    let said = r#"{"constant":"warn","duplicate":"refuse"}"#;
    check(
        three,
        said,
        None,
        "0 0 / 0 0 / 1 2\n0 / 1 / 3",
        "rows constant 1 => warned: row 0 has the same number in all its columns",
    );
    check(
        three,
        said,
        None,
        "1 2 / 1 2 / 1 2 / NaN NaN / NaN NaN\n3 / 4 / 3 / 0 / 0",
        "rows duplicate 2 => refused: row 2 is the same as row 0",
    );
    check(three, "{}", None, "0 0 / 0 0\n0 / 0", "");
    check(
        three,
        "{}",
        Some(""),
        "0 0 / 0 0\n0 / 0",
        "rows constant 2, rows duplicate 1",
    );
    check("FP64 a b", said, None, "0 0", "");
    check(
        "BYTES a b",
        said,
        None,
        "x yz / xy z / x yz",
        "rows duplicate 1 => refused: row 2 is the same as row 0",
    );
}

#[test]
fn an_input_that_is_too_large_for_columns_is_not_looked_at() {
    let said = r#"{"constant":"refuse","duplicate":"refuse"}"#;
    check(
        "FP32\nFP32 a b c",
        said,
        Some("a 0..1"),
        "1 1 1 / 1 1 1\n5 1 1 / 5 1 1",
        "a range 2",
    );
}

#[test]
fn hostile_values_end_in_bounded_time() {
    let said = r#"{"unseen":"refuse"}"#;
    let (contract, _) = contract("BYTES home", said, KNOWN);
    let huge = Tensor::new(vec![1, 1], Elements::Bytes(vec![vec![0xff; 64 << 20]]));
    let checked = contract.check(&[huge.expect("it fits")], 1);
    let refusal = checked.refusal.expect("refused").to_string();
    assert!(refusal.len() < 300, "{}", refusal.len());
    let control = Tensor::new(vec![1, 1], Elements::Bytes(vec![b"a\r\n\0".to_vec()]));
    let checked = contract.check(&[control.expect("it fits")], 1);
    assert_eq!(
        checked.refusal.expect("refused").to_string(),
        r"row 0 of `home` is `a\r\n\0`, want one of `own`, `rent`"
    );
    let rows = 100_000;
    let numbers: Vec<f32> = (0..rows).map(|it| it as f32).collect();
    let many = Tensor::new(vec![rows, 1], Elements::from_slice(&numbers)).expect("it fits");
    let said = r#"{"duplicate":"count","columns":{"a":{"greatest":-1}}}"#;
    let (contract, _) = self::contract("FP32 a", said, None);
    let checked = contract.check(&[many], rows);
    assert_eq!(checked.rows, [100_000, 0, 0, 0, 0]);
}

#[test]
fn rows_that_differ_in_few_bits_are_told_apart_and_twins_found() {
    let rows = 60_000;
    let number = |row: usize, at: usize| match at {
        29 => (row % (rows / 2)) as f64 * 2f64.powi(40),
        _ => 1.0,
    };
    let numbers: Vec<f64> = (0..rows * 30).map(|it| number(it / 30, it % 30)).collect();
    let tensor = Tensor::new(vec![rows, 30], Elements::from_slice(&numbers)).expect("it fits");
    let columns: Vec<String> = (0..30).map(|it| format!("c{it}")).collect();
    let inputs = format!("FP64 {}", columns.join(" "));
    let (contract, _) = contract(&inputs, r#"{"duplicate":"count"}"#, None);
    let checked = contract.check(&[tensor], rows);
    assert_eq!(checked.rows.last(), Some(&(rows as u64 / 2)));
}

#[test]
fn columns_and_types_that_the_model_does_not_have_are_refused() {
    let check = |said: &str, want: &str| {
        let (_, inputs) = contract("FP32 a b\nINT64 n\nBYTES t", "{}", None);
        let setting = serde_json::from_str(&format!(r#"{{"columns":{said}}}"#)).expect("settings");
        let got = check_columns(&setting, &inputs);
        let got = got.map_or_else(|it| it.to_string(), |()| "fine".to_owned());
        assert_eq!(got, want);
    };
    check(
        r#"{"a":{"least":0,"missing":"refuse"},"t":{"levels":["x"],"missing":"off"}}"#,
        "fine",
    );
    check(
        r#"{"Income":{"range":"warn"}}"#,
        "`monitor.inputs.columns.Income`: the model has no such input column; it has `a`, `b`, `n`, `t`",
    );
    check(
        r#"{"t":{"least":0}}"#,
        "`monitor.inputs.columns.t`: it is BYTES, which has no range",
    );
    check(
        r#"{"a":{"levels":["x"]}}"#,
        "`monitor.inputs.columns.a`: it is FP32, which has no levels",
    );
    check(
        r#"{"n":{"missing":"warn"}}"#,
        "`monitor.inputs.columns.n.missing`: it is INT64, which is never missing",
    );
}

mod any {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plainest way to say it.
        #[test]
        fn range_and_missing_are_what_they_say(
            values in prop::collection::vec(
                prop_oneof![
                    any::<f32>(),
                    Just(f32::NAN),
                    Just(0.0f32),
                    Just(1.0f32),
                    (-2.0f32..2.0),
                ],
                1..200,
            )
        ) {
            let (contract, _) = contract("FP32 a", r#"{"duplicate":"count"}"#, Some("a 0..1"));
            let rows = values.len();
            let tensor = Tensor::new(vec![rows, 1], Elements::from_slice(&values));
            let checked = contract.check(&[tensor.expect("it fits")], rows);
            let missing = values.iter().filter(|it| it.is_nan()).count();
            let outside = values.iter().filter(|it| **it < 0.0 || **it > 1.0).count();
            let mut bits: Vec<u32> = values.iter().map(|it| it.to_bits()).collect();
            bits.sort_unstable();
            bits.dedup();
            let want = [outside, missing, 0, 0, rows - bits.len()];
            match want.iter().all(|it| *it == 0) {
                true => prop_assert!(checked.rows.is_empty()),
                false => prop_assert_eq!(checked.rows, want.map(|it| it as u64)),
            }
        }
    }
}
