import { JOIN, LEAVE, PRESENCE, PRESENCE_CELL } from './codes.js';
import { readEntries, watchEntries, type Entries, type Entry } from './entries.js';
import { TidewireError } from './error.js';
import { payloadBytes, type Payload } from './record.js';
import type { Session } from './session.js';
import type { Watch, WatchOptions } from './watch.js';


/** Who is there. */
export class Presence {
  readonly name: string;
  readonly #session: Session;

  /** @internal */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
  }

  /**
   * Declares a member present until it leaves or this client is closed; after a cut it is declared again. An empty
   * member is the connection's own subject, where there are accounts.
   */
  async join(member: string, data: Payload = null): Promise<void> {
    const key = this.#key(member);
    const frame = [PRESENCE, 0, JOIN, this.name, member, payloadBytes(data)];
    // Remembered first: a cut between the reply and here must not lose the member.
    this.#session.remember(key, [...frame]);
    try {
      await this.#session.ask(frame, { repeatable: true });
    } catch (error) {
      const { code } = error as TidewireError;
      if (code !== 'connection_lost' && code !== 'not_connected') this.#session.forget(key);
      throw error;
    }
  }

  async leave(member: string): Promise<void> {
    this.#session.forget(this.#key(member));
    await this.#session.ask([PRESENCE, 0, LEAVE, this.name, member, null], { repeatable: true });
  }

  /** Everyone who is there, with what they gave. */
  members(): Promise<ReadonlyMap<string, Entry>> {
    return readEntries(this.#session, PRESENCE_CELL, this.name, {});
  }

  /** Follows who is there. */
  watch(options: WatchOptions = {}): Watch<Entries> {
    return watchEntries(this.#session, PRESENCE_CELL, this.name, options);
  }

  #key(member: string): string {
    return `${this.name} ${member}`;
  }
}
