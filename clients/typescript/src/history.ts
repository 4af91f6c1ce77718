import { TidewireError } from './error.js';
import { PAGE_RECORDS, PAGE_RECORDS_MAX, PAGE_WINDOW_BYTES } from './limits.js';
import type { TopicRecord } from './record.js';
import type { Session } from './session.js';
import type { Gap } from './subscription-events.js';
import { Subscription } from './subscription.js';
import type { Topic } from './topic.js';


/** Which page of a topic. */
export interface HistoryOptions {
  /** The first offset of the page; the oldest that is kept unless given. */
  from?: number;
  /** Instead: the page that ends before this offset. `Infinity`: the newest records. */
  before?: number;
  /** Records of the page: 100 unless given, 10,000 at most. */
  limit?: number;
}

/** One page. */
export interface HistoryPage {
  readonly records: readonly TopicRecord[];
  readonly epoch: number;
  /** The `from` of the page behind this one. */
  readonly next: number;
  /** The `before` of the page in front of this one; `undefined` when there is none. */
  readonly previous: number | undefined;
  /** Whether it reaches the end of the topic as it was when this was asked. */
  readonly atEnd: boolean;
  /** What was removed while it was read. */
  readonly gaps: readonly Gap[];
}

/** Reads one page: a subscription that ends when the page is full. */
export async function readHistory(session: Session, topic: Topic, options: HistoryOptions): Promise<HistoryPage> {
  const limit = options.limit ?? PAGE_RECORDS;
  if (!(limit >= 1 && limit <= PAGE_RECORDS_MAX)) {
    throw new TidewireError('invalid_argument', `a page holds 1 to ${PAGE_RECORDS_MAX} records`);
  }
  const { value: info, epoch } = await topic.readInfo();
  if (info.partitions !== undefined) {
    throw new TidewireError('unsupported', `'${topic.name}' has partitions: subscribe from positions`);
  }
  const before = Math.min(options.before ?? Infinity, info.next);
  const from = Math.max(options.before === undefined ? (options.from ?? info.first) : before - limit, info.first);
  const end = Math.min(options.before === undefined ? info.next : before, from + limit);
  const records: TopicRecord[] = [];
  const gaps: Gap[] = [];
  if (from < end) {
    const options = { start: { epoch, offset: from }, windowBytes: PAGE_WINDOW_BYTES };
    await fill(new Subscription(session, topic.name, options), end, records, gaps);
  }
  const next = Math.max(from, end);
  return { records, epoch, next, previous: from > info.first ? from : undefined, atEnd: next >= info.next, gaps };
}

async function fill(subscription: Subscription, end: number, records: TopicRecord[], gaps: Gap[]): Promise<void> {
  for await (const event of subscription.events()) {
    if (event.type === 'gap') {
      gaps.push(event);
      if (event.next >= end || event.reason === 'new_epoch') return;
    } else if (event.type === 'delivery') {
      for (const record of event) if (record.offset < end) records.push(record);
      if (event.next >= end) return;
    }
  }
}
