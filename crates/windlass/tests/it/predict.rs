//! Rows of files, asked about from the command line.

use crate::terminal::Terminal;

const HEAD: &str =
    "Seniority,Time,Age,Expenses,Income,Assets,Debt,Amount,Price,Home,Marital,Records,Job";

#[test]
fn rows_are_asked_about_in_every_format_with_the_same_answers() {
    let terminal = Terminal::new();
    terminal.check("$ push credit\ncredit:1 pushed, examples reproduced");
    let mut answers = Vec::new();
    for file in ["rows.csv", "rows.jsonl", "rows.parquet"] {
        let data = format!("credit/{file}");
        let arguments = ["predict", "credit", "--data", &data, "--format", "jsonl"];
        let output = terminal.command(&arguments).output().expect("it starts");
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let rows: Vec<(String, f64)> = String::from_utf8(output.stdout)
            .expect("it is text")
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let score = row["probabilities_bad"].as_f64().expect("a number");
                (row["label"].as_str().expect("a label").to_owned(), score)
            })
            .collect();
        assert_eq!(rows.len(), 50, "{file}");
        answers.push(rows);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);

    let data = ["--data", "credit/rows.csv", "--batch", "7"];
    for (output, again) in [("out.parquet", "again.csv"), ("out.jsonl", "again.csv")] {
        let mut arguments = vec!["predict", "credit", "--output", output];
        arguments.extend(data);
        assert!(
            terminal
                .command(&arguments)
                .status()
                .expect("it starts")
                .success()
        );
        // What came out goes in again: the answers of before are columns that the model does not use.
        let arguments = ["predict", "credit", "--data", output, "--output", again];
        let said = terminal.command(&arguments).output().expect("it starts");
        let said = String::from_utf8(said.stderr).expect("it is text");
        assert!(
            said.contains("not used by the model, and kept: `label`"),
            "{said}"
        );
        assert!(said.contains("answers are in `credit_label`"), "{said}");
        let text = String::from_utf8(terminal.read(again)).expect("it is text");
        let names = "label,probabilities_bad,probabilities_good,credit_label,\
                     credit_probabilities_bad,credit_probabilities_good";
        assert_eq!(text.lines().next(), Some(&*format!("{HEAD},{names}")));
    }
}

#[test]
fn csv_comes_out_as_it_went_in() {
    let terminal = Terminal::new();
    terminal.write(
        "rows.csv",
        format!("id,{HEAD}\n007,0,48,23,45,26,NA,,1350,1562,\"a, b\",married,no,partime\n"),
    );
    terminal.check("$ push credit\ncredit:1 pushed, examples reproduced");
    // The last digits of a score are the processor's own.
    let check = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8(output.stdout).expect("it is text");
        let names = "label,probabilities_bad,probabilities_good";
        let row = "007,0,48,23,45,26,NA,,1350,1562,\"a, b\",married,no,partime,bad,0.78300";
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], format!("id,{HEAD},{names}"));
        assert!(lines[1].starts_with(row), "{said}");
        assert_eq!(lines.len(), 2);
        let errors = String::from_utf8(output.stderr).expect("it is text");
        assert_eq!(errors, "not used by the model, and kept: `id`\n");
    };
    let predict = |data| terminal.command(&["predict", "credit", "--data", data]);
    check(predict("rows.csv").output().expect("it starts"));
    let file = std::fs::File::open(terminal.path("rows.csv")).expect("it is there");
    check(predict("-").stdin(file).output().expect("it starts"));
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let terminal = Terminal::new();
    terminal.write("few.csv", "Seniority;Time\n1;2\n");
    terminal.write(
        "wrong.csv",
        format!("{HEAD}\n0,48,old,45,26,,,1350,1562,,married,no,partime\n"),
    );
    terminal.write("empty.csv", format!("{HEAD}\n"));
    terminal.check(
        "
        $ push credit
        credit:1 pushed, examples reproduced
        $ predict credit --data few.csv
        ! error: `Seniority`, `Time`, `Age`, `Expenses`, `Income`, `Assets`, `Debt`, `Amount`, `Price`, `Home`, `Marital`, `Records`, `Job` are missing; the file has `Seniority;Time`
        ! hint: the columns seem to be separated by something else than commas
        => Some(3)
        $ predict credit --data wrong.csv
        ! error: column `Age`, row 1: `old` is not a FP32
        ! hint: mend the file; rows are counted from 1
        => Some(3)
        $ predict credit --data empty.csv
        ! error: `empty.csv` cannot be read as CSV: it has no rows
        ! hint: give CSV with a header, JSON lines, or Parquet
        => Some(3)
        $ predict credit --data nowhere.csv
        ! error: `nowhere.csv` cannot be read: No such file or directory (os error 2)
        ! hint: name a file with rows, or `-` for standard input
        => Some(4)
        $ predict credit:9 --data credit/rows.csv
        ! error: no version `credit:9`
        ! hint: `windlass show MODEL` shows its versions and aliases
        => Some(4)
        $ predict credit@best --data credit/rows.csv
        ! error: no alias `credit@best`
        ! hint: `windlass show MODEL` shows its versions and aliases
        => Some(4)
        ",
    );
}
