import { PUBLISH } from './codes.js';
import type { Position } from './cursor.js';
import { toWire, type Frame, type ServerFrame } from './frames.js';
import { encodeBody, type RecordInput } from './record.js';
import type { Session } from './session.js';

/** How safe a publish is before it is acknowledged; `policy` leaves that to the server's policy for the topic. */
export type Ack = 'none' | 'memory' | 'disk' | 'quorum' | 'policy';
const LEVELS: readonly Ack[] = ['none', 'memory', 'disk', 'quorum', 'policy'];

/** How records are published. */
export interface PublishOptions {
  /** `policy` unless given. */
  ack?: Ack | undefined;
  /** The map entry of each key expires after so long. */
  ttlMs?: number | undefined;
  /** Append only if nothing was appended at this offset or behind it; otherwise `conflict`, with `actual`. */
  expectedOffset?: number | undefined;
  /** With `expectedOffset`: only records with this key count. */
  expectedKey?: string | undefined;
}

/** Where records were appended. */
export interface Published {
  readonly epoch: number;
  /** Of the first record. `null`: not certain yet (`memory` on disk), or in `positions`. */
  readonly offset: number | null;
  readonly level: Ack;
  /** Topics with partitions: where the first record of each partition is. */
  readonly positions: readonly Position[];
  /** It had been appended before, and the place is that of then. */
  readonly duplicate: boolean;
}

/** Publishes records together: all or none. */
export async function publish(
  session: Session,
  topic: string,
  records: readonly RecordInput[],
  { ack = 'policy', ...rest }: PublishOptions,
): Promise<Published> {
  const body = encodeBody(records);
  const silent = ack === 'none';
  const frame: Frame = [PUBLISH, 0, topic, LEVELS.indexOf(ack), body, toWire(rest)];
  const reply: ServerFrame = await session.ask(frame, { numbered: !silent, silent, bytes: body.length });
  if (silent) return { epoch: 0, offset: null, level: 'none', positions: [], duplicate: false };
  const [, , epoch, offset, level, positions, duplicate] = reply;
  return { epoch, offset, level: LEVELS[level as number] ?? 'policy', positions: positions ?? [], duplicate: duplicate === true };
}
