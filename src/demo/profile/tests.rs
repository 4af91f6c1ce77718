use super::*;

fn parsed(content: &str, columns: &Columns) -> Result<Election, String> {
    parse("b.csv", "b", content.as_bytes(), columns).map_err(|error| error.to_string())
}

fn plain(content: &str) -> Result<Election, String> {
    parsed(content, &Columns::default())
}

fn refused(content: &str) -> String {
    plain(content).unwrap_err()
}

fn counted() -> Columns {
    Columns { ranks: None, count: Some("n".to_owned()) }
}

#[test]
fn the_shipped_election_has_the_figures_of_its_source() {
    let election = shipped().unwrap();
    assert_eq!(election.rankings.len(), 7084);
    assert_eq!((election.options.len(), election.ranks), (36, 3));
    assert_eq!(election.options.first().unwrap(), "ABDUL M RAHAMAN \"THE ROCK\"");
    let standings = election.standings();
    assert_eq!((standings.ballots, standings.blank, standings.overvotes), (80_101, 834, 93));
    let first = |name: &str| {
        standings.counts[election.options.iter().position(|option| option == name).unwrap()]
    };
    assert_eq!((first("BETSY HODGES"), first("MARK ANDREW")), (28_935, 19_584));
    election.rules().validate().unwrap();
}

#[test]
fn names_are_trimmed_and_words_for_no_choice_are_not_names() {
    let election =
        plain("1st,2nd,3rd\n Ada ,UNDERVOTE,Bo\n\"\",Overvote,skipped\n UWI,ada,\" undervote \"\n")
            .unwrap();
    assert_eq!(election.options, ["Ada", "Bo", "UWI", "ada"]);
    assert_eq!(&*election.rankings[0].marks, [Mark::Option(0), Mark::Skipped, Mark::Option(1)]);
    assert_eq!(&*election.rankings[1].marks, [Mark::Skipped, Mark::Over, Mark::Skipped]);
}

#[test]
fn quoted_cells_follow_rfc_4180() {
    let election = plain("a,b\r\n\"Li, \"\"Jo\"\"\",Bo\r\n").unwrap();
    assert_eq!(election.options, ["Li, \"Jo\"", "Bo"]);
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_column() {
    let columns = Columns { ranks: Some(vec!["a".to_owned()]), count: None };
    assert!(parsed("\u{feff}a,b\nAda,Bo\n", &columns).is_ok());
}

#[test]
fn chosen_columns_are_ranked_in_the_order_they_were_asked_for() {
    let columns = Columns { ranks: Some(vec!["2nd".into(), " 1st".into()]), count: None };
    let election = parsed("id,1st,2nd\n7,Ada,Bo\n", &columns).unwrap();
    assert_eq!((election.options, election.ranks), (vec!["Bo".to_owned(), "Ada".to_owned()], 2));
}

#[test]
fn a_row_stands_for_as_many_ballots_as_its_count() {
    let election = parsed("a,n,b\nAda,3,Bo\nBo, 2 ,Ada\nAda,1,Bo\n", &counted()).unwrap();
    let counts: Vec<u64> = election.rankings.iter().map(|ranking| ranking.count).collect();
    assert_eq!((counts, election.ranks), (vec![4, 2], 2));
}

#[test]
fn a_bad_count_is_refused_with_its_place() {
    for bad in ["x", "-1", "+1", "1.5", "", "99999999999999999999"] {
        let error = parsed(&format!("a,n\nAda,1\nBo,{bad}\n"), &counted()).unwrap_err();
        assert!(error.starts_with("b.csv: line 3, column 2 ('n'): "), "{error}");
        assert!(error.contains("whole number"), "{error}");
    }
    let error = parsed("a,n\nAda,10000001\n", &counted()).unwrap_err();
    assert!(error.contains("line 2") && error.contains("more than 10000000"), "{error}");
}

#[test]
fn a_row_of_another_length_is_refused_with_its_place() {
    let short = refused("a,b\nAda,Bo\nAda\n");
    assert!(short.starts_with("b.csv: line 3, column 2: the row has 1 fields"), "{short}");
    let long = refused("a,b\nAda,Bo,Cy\n");
    assert!(long.starts_with("b.csv: line 2, column 3: the row has 3 fields"), "{long}");
}

#[test]
fn the_line_is_right_after_empty_lines() {
    for break_ in ["\n", "\r\n", "\r"] {
        for content in ["a,b\n\n\nAda,Bo\n\nAda\n", "\u{feff}a,b\nAda,Bo\nAda,Bo\n\n\nAda"] {
            let error = refused(&content.replace('\n', break_));
            assert!(error.starts_with("b.csv: line 6, "), "{error}");
        }
    }
    assert!(refused("\n\na,b\nAda\n").starts_with("b.csv: line 4, "));
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let columns = Columns::default();
    let error = parse("b.csv", "b", b"a,b\nAda,B\xff\n", &columns).unwrap_err().to_string();
    assert_eq!(error, "b.csv: line 2, column 2 ('b'): not valid UTF-8 after 1 bytes");
    let error = parse("b.csv", "b", b"a,\xff\nAda,Bo\n", &columns).unwrap_err().to_string();
    assert_eq!(error, "b.csv: line 1, column 2: not valid UTF-8 after 0 bytes");
}

#[test]
fn a_quote_left_open_does_not_swallow_ballots() {
    let error = refused("a,b\nAda,\"Bo\nAda,Bo\nAda,Bo\n");
    assert!(error.starts_with("b.csv: line 2, column 2 ('b'): holds a line break"), "{error}");
}

#[test]
fn a_column_that_is_not_there_is_named_beside_those_that_are() {
    let columns = Columns { ranks: Some(vec!["third".to_owned()]), count: None };
    let error = parsed("a,b\nAda,Bo\n", &columns).unwrap_err();
    assert!(error.contains("no column is named 'third'; there are: 'a', 'b'"), "{error}");
}

#[test]
fn a_column_has_one_meaning() {
    let ranks = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let twice = Columns { ranks: ranks(&["a", "a"]), count: None };
    assert!(parsed("a,b\nAda,Bo\n", &twice).unwrap_err().contains("asked for twice"));
    let both = Columns { ranks: ranks(&["a", "n"]), count: Some("n".to_owned()) };
    assert!(parsed("a,n\nAda,1\n", &both).unwrap_err().contains("both a choice and the count"));
    assert!(parsed("n\n1\n", &counted()).unwrap_err().contains("1 to 255 ranked columns, here 0"));
    assert!(parsed("n,n\n1,1\n", &counted()).unwrap_err().contains("two columns are named 'n'"));
}

#[test]
fn a_file_without_ballots_or_names_is_refused() {
    assert!(refused("").contains("is empty"));
    assert!(refused("a,b\n").contains("holds no ballots"));
    assert!(refused("a,b\n,overvote\n").contains("names no option"));
}

#[test]
fn limits_of_a_tally_are_refused_where_they_are_passed() {
    let long = format!("a\nAda\n{}\n", "x".repeat(257));
    assert!(refused(&long).contains("line 3, column 1 ('a'): a name has at most 256 bytes"));
    let many: String = (0..=1000).map(|n| format!("name {n}\n")).collect();
    assert!(refused(&format!("a\n{many}")).contains("line 1002, column 1 ('a'): 'name 1000'"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = Path::new("/nonexistent/ballots.csv");
    let error = read(path, &Columns::default()).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/ballots.csv: cannot be read: "), "{error}");
}
