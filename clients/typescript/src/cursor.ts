import type { Encodable } from './msgpack-writer.js';

/** Where a shard (of a pattern) or a partition (of a topic) stands. */
export type Position = readonly [of: number, epoch: number, next: number];

/** Where a subscription begins. */
export type Start =
  /** What is published from now on; the oldest record that is kept. */
  | 'latest'
  | 'earliest'
  /** An offset of one topic; epoch 0: whichever it is. */
  | { readonly epoch?: number; readonly offset: number }
  /** The first batch that was appended at this Unix time or later. */
  | { readonly timeMs: number }
  /** The newest n records. */
  | { readonly last: number }
  /** As taken from earlier events of a pattern, or of a topic with partitions. */
  | { readonly positions: readonly Position[] };

/** A start as it stands on the wire. */
export function encodeStart(start: Start): Encodable {
  if (start === 'latest') return [0];
  if (start === 'earliest') return [1];
  if ('offset' in start) return [2, start.epoch ?? 0, start.offset];
  if ('timeMs' in start) return [3, start.timeMs];
  if ('last' in start) return [4, start.last];
  return [5, start.positions];
}

/** Where a subscription stands, so that it can go on after a cut. */
export class Cursor {
  readonly #start: Start;
  readonly #oneTopic: boolean;
  #isKnown = false;
  #epoch = 0;
  #next = 0;
  readonly #positions = new Map<number, Position>();

  constructor(start: Start, oneTopic: boolean) {
    this.#start = start;
    this.#oneTopic = oneTopic;
  }

  /** Where to start on the next connection. */
  resume(): Start {
    if (!this.#isKnown) return this.#start;
    if (this.#oneTopic && this.#positions.size === 0) return { epoch: this.#epoch, offset: this.#next };
    return { positions: [...this.#positions.values()] };
  }

  /** The server has said where it starts. */
  started(epoch: number, offset: number, positions: readonly Position[]): void {
    this.#isKnown = true;
    this.#epoch = epoch;
    this.#next = offset;
    for (const position of positions) this.#positions.set(position[0], position);
  }

  /** The first offset that is missing before a delivery from `from`; undefined if none is, as it should be. */
  holeBefore(epoch: number, from: number, position: Position | null): number | undefined {
    if (!this.#oneTopic || !this.#isKnown) return undefined;
    const known = position ? this.#positions.get(position[0]) : undefined;
    if (position && !known) return undefined;
    const [knownEpoch, next] = known ? [known[1], known[2]] : [this.#epoch, this.#next];
    return epoch === knownEpoch && from > next ? next : undefined;
  }

  /** Everything before `next` has been taken. */
  advance(epoch: number, next: number, position: Position | null): void {
    if (position) this.#positions.set(position[0], position);
    else if (this.#oneTopic) {
      this.#epoch = epoch;
      this.#next = next;
    }
  }
}
