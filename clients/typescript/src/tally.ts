import { asMap, read, type GetOptions, type ReadValue } from './cells.js';
import { INVALIDATE, ROUNDS, TALLY, TALLY_CELL, VOTE } from './codes.js';
import { fromWire, toWire } from './frames.js';
import { FrameError, type Decoded, type DecodedMap } from './msgpack-reader.js';
import type { Encodable } from './msgpack-writer.js';
import type { Session } from './session.js';
import type { CellReader } from './watch-slot.js';
import { Watch, type WatchOptions } from './watch.js';

/** How a tally counts. */
export interface TallyRules {
  kind: 'single' | 'multiple' | 'ranked';
  /** 1 to 1,000 different names, in the order in which `counts` has them. */
  options: readonly string[];
  /** `multiple`: options per ballot; `ranked`: ranks. */
  choicesMax?: number;
  /** A ballot cannot be changed. */
  final?: boolean;
  /** Unix times. */
  opensAtMs?: number;
  closesAtMs?: number;
  /** Nobody sees the counts before it is closed. */
  hidden?: boolean;
  /** The issuer whose people the voters are. */
  identity?: string;
  /** `ranked`: what an over-vote does when a runoff reaches it. */
  overvote?: 'skip' | 'exhaust';
  exhaustAfterSkips?: number;
}

/** Where a tally stands. */
export interface Standings {
  readonly options: readonly string[];
  /** Votes of each option; for `ranked`: first preferences. Empty while they are hidden. */
  readonly counts: readonly number[];
  readonly ballots: number;
  readonly blank: number;
  readonly overvotes: number;
  readonly state: 'scheduled' | 'open' | 'closed';
  readonly hidden: boolean;
  readonly rules: TallyRules;
  /** The version of each partition that is added up here. */
  readonly partitions: readonly number[] | undefined;
}

/** One round of an instant runoff. */
export interface Round {
  readonly votes: readonly number[];
  readonly exhausted: number;
  /** Indexes of options. */
  readonly eliminated?: number;
  readonly winner?: number;
}

/** The instant runoff of a ranked tally. */
export interface Rounds {
  readonly options: readonly string[];
  readonly rounds: readonly Round[];
  readonly ballots: number;
}

/** An option by name or index; `null`: nothing at this rank; several at one rank: an over-vote. */
export type Choice = string | number | null | readonly (string | number | null)[];

/** Who votes, and how often. */
export interface VoteOptions {
  /** 1 to 256 bytes. Absent: the connection's own subject, where there are accounts. */
  voter?: string;
  /** Orders the ballots of one voter, so that a delayed one never overwrites a newer one. */
  revision?: number;
}

/** What became of a ballot. */
export interface Voted {
  /** `duplicate`: the same ballot again; nothing changed. */
  readonly status: 'accepted' | 'changed' | 'duplicate';
  readonly revision: number;
  readonly epoch: number;
  /** The version of the tally (or of its partition) that holds the ballot. */
  readonly version: number;
  readonly partition: number | null;
}

/** What became of a change to a tally. */
export interface TallyChanged {
  readonly created: boolean;
  readonly state: Standings['state'];
  readonly version: number;
}

/** A poll: one ballot per voter. */
export class Tally {
  readonly name: string;
  readonly #session: Session;

  /** @internal */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
  }

  /** Declares it. Doing so again with the same rules changes nothing. */
  create(rules: TallyRules): Promise<TallyChanged> {
    return this.#change(0, rules);
  }

  /** Accepts ballots (again), whatever the schedule says. */
  open(): Promise<TallyChanged> {
    return this.#change(1);
  }

  /** Accepts no more ballots. */
  close(): Promise<TallyChanged> {
    return this.#change(2);
  }

  /** Forgets it and its ballots. */
  delete(): Promise<TallyChanged> {
    return this.#change(3);
  }

  /**
   * Casts a ballot, or changes an earlier one of this voter: one option, or several choices; none is a blank ballot.
   * One that is lost with the connection is sent again: the same ballot twice counts once.
   */
  async vote(choice: string | number | readonly Choice[], options: VoteOptions = {}): Promise<Voted> {
    const choices = (Array.isArray(choice) ? choice : [choice]) as Encodable;
    const frame = [VOTE, 0, this.name, options.voter ?? '', choices, options.revision];
    const [, , epoch, version, status, revision, partition] = await this.#session.ask(frame, { repeatable: true });
    const told = (['accepted', 'changed', 'duplicate'] as const)[status as number] ?? 'accepted';
    return { status: told, revision, epoch, version, partition };
  }

  /** Takes the ballots of voters out, as if they had never been cast. Returns how many there were. */
  async invalidate(voters: readonly string[], hashes: readonly string[] = []): Promise<number> {
    const frame = [INVALIDATE, 0, this.name, voters, hashes.length > 0 ? hashes : null];
    return (await this.#session.ask(frame, { repeatable: true }))[2].records;
  }

  /** Where it stands. */
  async get(options: GetOptions = {}): Promise<Standings> {
    return (await this.read(options)).value;
  }

  /** Where it stands, as of which version, and how old that may be. */
  read(options: GetOptions = {}): Promise<ReadValue<Standings>> {
    return read(this.#session, TALLY_CELL, this.name, null, options, (value) => standings(asMap(value), asMap(value)));
  }

  /** The instant runoff of a ranked tally, as its ballots are now. */
  async rounds(): Promise<Rounds> {
    const convert = (value: Decoded) => fromWire<Rounds>(asMap(value));
    return (await read(this.#session, ROUNDS, this.name, null, {}, convert)).value;
  }

  /** Follows where it stands; `null` when it was deleted. */
  watch(options: WatchOptions = {}): Watch<Standings | null> {
    return new Watch(this.#session, TALLY_CELL, this.name, options, new StandingsCell());
  }

  async #change(op: number, rules?: TallyRules): Promise<TallyChanged> {
    const frame = [TALLY, 0, op, this.name, rules ? toWire(rules) : null];
    return fromWire((await this.#session.ask(frame, { repeatable: op === 0 }))[2]);
  }
}

/** `info` holds the options and rules, which a watch is told once. */
function standings(value: DecodedMap, info: DecodedMap | null): Standings {
  const rules = fromWire<TallyRules>((info?.rules ?? null) as DecodedMap | null);
  const options = info?.options as unknown as string[] | undefined;
  if (!options) throw new FrameError('a tally without options');
  return { ...fromWire<Standings>(value), options, rules, hidden: value.hidden === true };
}

/** A tally's value in a watch. */
class StandingsCell implements CellReader<Standings | null> {
  readonly hasEntries = false;
  #value: Standings | null = null;

  update(_full: boolean, [value]: Decoded[], info: DecodedMap | null): void {
    this.#value = value === null ? null : standings(asMap(value!), info);
  }

  snapshot(): Standings | null {
    return this.#value;
  }
}
