import { read, type GetOptions } from './cells.js';
import { MAP } from './codes.js';
import { readEntries, watchEntries, Entry, type Entries } from './entries.js';
import { publish, type Published, type PublishOptions } from './publishing.js';
import type { Payload } from './record.js';
import type { Session } from './session.js';
import type { Watch, WatchOptions } from './watch.js';

/** The newest value per key of the topic of this name; the server's policy says which topics keep one. */
export class LiveMap {
  readonly name: string;
  readonly #session: Session;

  /** @internal */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
  }

  /** Publishes a record with this key. `ttlMs`: the entry expires after so long. */
  set(key: string, value: Exclude<Payload, null>, options: PublishOptions = {}): Promise<Published> {
    return publish(this.#session, this.name, [{ key, payload: value }], options);
  }

  /** Publishes a tombstone. */
  delete(key: string, options: PublishOptions = {}): Promise<Published> {
    return publish(this.#session, this.name, [{ key, payload: null }], options);
  }

  /** The value of one key; `null` if there is none. */
  async get(key: string, options: GetOptions = {}): Promise<Entry | null> {
    const { value, version } = await read(this.#session, MAP, this.name, key, options, (bytes) => bytes as Uint8Array | null);
    return value && new Entry(version, value.slice());
  }

  /** Everything that is in it. */
  entries(options: GetOptions = {}): Promise<ReadonlyMap<string, Entry>> {
    return readEntries(this.#session, MAP, this.name, options);
  }

  /** Follows what is in it. */
  watch(options: WatchOptions = {}): Watch<Entries> {
    return watchEntries(this.#session, MAP, this.name, options);
  }
}
