//! What `tidewire tally` can be asked for.

use clap::{Args, Subcommand, ValueEnum};
use tidewire_client::{Name, Overvote, TallyKind, TallyRules};

use super::rebuild::RebuildArgs;
use crate::cli::connection::{ConnectionArgs, parse_name};
use crate::cli::timestamp::parse_rfc3339;

/// Declare polls, vote, and see where they stand
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidewire tally create lunch --kind single --option Pizza --option Sushi
  tidewire tally vote lunch --voter ann Pizza
  tidewire tally create board --kind ranked --option A --option B --option C
  tidewire tally vote board --voter ann B - A
  tidewire tally watch lunch
  tidewire tally rounds board
  tidewire tally rebuild board --verify")]
pub(crate) struct TallyArgs {
    #[command(subcommand)]
    pub(crate) command: TallyCommand,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// What to do with a tally.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum TallyCommand {
    /// Declare a tally; doing so again with the same rules changes nothing
    Create(CreateArgs),
    /// Cast a ballot, or change an earlier one of this voter
    Vote(VoteArgs),
    /// Print where the tally stands
    Get(NameArgs),
    /// Print where the tally stands whenever it changes
    Watch(WatchArgs),
    /// Print the instant-runoff rounds of a ranked tally
    Rounds(NameArgs),
    /// Accept ballots (again)
    Open(NameArgs),
    /// Accept no more ballots
    Close(NameArgs),
    /// Forget the tally and its ballots
    Delete(NameArgs),
    /// Take the ballots of voters out, as if they had never been cast
    Invalidate(InvalidateArgs),
    /// Count the tally again from its ballots, which the admin listener gives out for an audit
    Rebuild(RebuildArgs),
}

/// Which tally.
#[derive(Args, Clone, Debug)]
pub(crate) struct NameArgs {
    /// The tally
    #[arg(value_parser = parse_name)]
    pub(crate) name: Name,
}

/// Which tally, and how long to follow it.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    /// The tally
    #[arg(value_parser = parse_name)]
    pub(crate) name: Name,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// At most one line in so long
    #[arg(long, value_name = "MS")]
    pub(crate) interval_ms: Option<u64>,
}

/// Whose ballots go.
#[derive(Args, Clone, Debug)]
pub(crate) struct InvalidateArgs {
    /// The tally
    #[arg(value_parser = parse_name)]
    pub(crate) name: Name,
    /// A voter; may be repeated
    #[arg(long = "voter", value_name = "VOTER", required_unless_present = "hashes")]
    pub(crate) voters: Vec<String>,
    /// A voter's hash, as `rebuild --save` shows it; may be repeated
    #[arg(long = "hash", value_name = "HEX")]
    pub(crate) hashes: Vec<String>,
}

/// A ballot.
#[derive(Args, Clone, Debug)]
pub(crate) struct VoteArgs {
    /// The tally
    #[arg(value_parser = parse_name)]
    pub(crate) name: Name,
    /// Who votes; the server keeps only a keyed hash of it
    #[arg(long)]
    pub(crate) voter: String,
    /// Replaces only ballots of a lower revision
    #[arg(long, value_name = "N")]
    pub(crate) revision: Option<u64>,
    /// The options chosen, in order of preference if the tally is ranked; - skips a rank; none at
    /// all is a blank ballot
    #[arg(value_name = "CHOICE")]
    pub(crate) choices: Vec<String>,
}

/// The rules of a tally.
#[derive(Args, Clone, Debug)]
pub(crate) struct CreateArgs {
    /// The tally
    #[arg(value_parser = parse_name)]
    pub(crate) name: Name,
    /// How ballots are marked
    #[arg(long, value_enum)]
    pub(crate) kind: Kind,
    /// An option; repeat for each, in the order in which they are shown
    #[arg(long = "option", value_name = "OPTION", required = true)]
    pub(crate) options: Vec<String>,
    /// Options (or ranks) per ballot
    #[arg(long, value_name = "N")]
    pub(crate) choices_max: Option<u64>,
    /// A ballot cannot be changed
    #[arg(long = "final")]
    pub(crate) is_final: bool,
    /// Accept ballots from this time on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_rfc3339)]
    pub(crate) opens_at: Option<u64>,
    /// Accept ballots until this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_rfc3339)]
    pub(crate) closes_at: Option<u64>,
    /// Ranked: what an over-voted rank does to the ballot
    #[arg(long, value_enum, default_value_t = OnOvervote::Skip)]
    pub(crate) overvote: OnOvervote,
    /// Ranked: so many skipped ranks in a row end the ballot; 0 never
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) exhaust_after_skips: u64,
    /// Nobody sees the counts before it is closed, and it is not opened again then
    #[arg(long)]
    pub(crate) hidden: bool,
    /// The issuer whose people the voters are, or `ticket` for those with a ticket [default: that of
    /// who makes the tally]
    #[arg(long, value_name = "ISSUER")]
    pub(crate) identity: Option<String>,
}

/// How ballots are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One option
    Single,
    /// Several options
    Multiple,
    /// Options in order of preference
    Ranked,
}

/// What an over-voted rank does to the ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnOvervote {
    /// The next rank counts
    Skip,
    /// The ballot counts no more
    Exhaust,
}

impl From<CreateArgs> for TallyRules {
    fn from(args: CreateArgs) -> Self {
        let kind = match args.kind {
            Kind::Single => TallyKind::Single,
            Kind::Multiple => TallyKind::Multiple,
            Kind::Ranked => TallyKind::Ranked,
        };
        Self {
            choices_max: args.choices_max,
            is_final: args.is_final,
            opens_at_ms: args.opens_at,
            closes_at_ms: args.closes_at,
            overvote: match args.overvote {
                OnOvervote::Skip => Overvote::Skip,
                OnOvervote::Exhaust => Overvote::Exhaust,
            },
            exhaust_after_skips: args.exhaust_after_skips,
            hidden: args.hidden,
            identity: args.identity,
            ..Self::new(kind, args.options)
        }
    }
}
