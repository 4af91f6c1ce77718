import { INCR, PRODUCER } from './codes.js';
import { counted, type Counted } from './counter.js';
import type { Session } from './session.js';

/**
 * A numbering of increments of eventual counters. When the connection is lost before an increment was answered it
 * is sent again, to whichever node, and counts once. Where that cannot be said it fails with `outcome_unknown`, and
 * was not counted now. `producer_unknown`: begin another numbering. A server remembers the newest 64 of one.
 */
export class Increments {
  readonly #session: Session;
  readonly #producer: number;
  #last = 0;

  private constructor(session: Session, producer: number) {
    this.#session = session;
    this.#producer = producer;
  }

  /** @internal */
  static async begin(session: Session): Promise<Increments> {
    const reply = await session.ask([PRODUCER, 0]);
    return new Increments(session, reply[2].producer);
  }

  /** Adds to an eventual counter. */
  async add(counter: string, delta: number | bigint = 1): Promise<Counted> {
    const numbering = { producer: this.#producer, sequence: ++this.#last, tried: [] };
    return counted(await this.#session.ask([INCR, 0, counter, 0, delta, numbering], { repeatable: true }));
  }
}
