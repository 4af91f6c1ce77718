import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { checkServerFrame } from '../dist/frames.js';
import { FrameError, Reader, type Decoded } from '../dist/msgpack-reader.js';
import { Writer, type Encodable } from '../dist/msgpack-writer.js';
import { parseName, parsePattern, partitionOf, patternMatches } from '../dist/names.js';
import { BodyReader, encodeBody, type TopicRecord } from '../dist/record.js';

interface Vector {
  name: string;
  direction: 'client' | 'server';
  bytes: string;
  frame?: unknown;
  means?: unknown[];
  error?: string;
}

interface FrameFile {
  vectors: Vector[];
  decode_only: Vector[];
  refused: Vector[];
  broken: Vector[];
}

interface Body {
  name: string;
  body: string;
  records: [string | null, Record<string, string> | null, { bin: string } | null][];
}

function load<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../protocol/vectors/${name}.json`, import.meta.url), 'utf8')) as T;
}

/** A value as the vectors' JSON stands for it. */
function fromJson(json: unknown): Encodable {
  if (Array.isArray(json)) return json.map(fromJson);
  if (typeof json !== 'object' || json === null) return json as Encodable;
  const entries = Object.entries(json);
  if (entries.length === 1 && entries[0]![0] === 'int') return BigInt(entries[0]![1] as string);
  if (entries.length === 1 && entries[0]![0] === 'bin') return bytesOf(entries[0]![1] as string);
  return Object.fromEntries(entries.map(([key, value]) => [key, fromJson(value)]));
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

function encode(value: Encodable): string {
  const writer = new Writer();
  writer.value(value);
  return Buffer.from(writer.take()).toString('hex');
}

/** What is there without prototypes and views, so that it can be compared. */
function plain(value: Decoded): unknown {
  if (value instanceof Uint8Array) return { bin: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return typeof value === 'bigint' ? { int: String(value) } : value;
}

function decode(hex: string): Decoded {
  const reader = new Reader(bytesOf(hex));
  const value = reader.value();
  assert.ok(reader.done, 'nothing is left over');
  return value;
}

/** What a reader takes of a frame that has fields and keys of later versions: those that `means` has. */
function known(frame: unknown, means: unknown): unknown {
  if (Array.isArray(means) && Array.isArray(frame)) return means.map((element, index) => known(frame[index] ?? null, element));
  if (typeof means === 'object' && means !== null && typeof frame === 'object' && frame !== null && !('bin' in means)) {
    return Object.fromEntries(Object.entries(means).map(([key, value]) => [key, key in frame ? known(frame[key as keyof typeof frame], value) : value]));
  }
  return frame;
}

for (const file of ['connection', 'topics', 'cells', 'tallies', 'groups']) {
  const { vectors, decode_only, refused, broken } = load<FrameFile>(file);

  test(`${file}: each frame encodes as its bytes, and its bytes decode as the frame`, () => {
    assert.ok(vectors.length > 0);
    for (const { name, direction, frame, bytes } of vectors) {
      assert.equal(encode(fromJson(frame)), bytes, name);
      const decoded = decode(bytes);
      assert.deepEqual(plain(decoded), frame, name);
      if (direction === 'server') assert.deepEqual(plain(checkServerFrame(decoded)!), padded(frame as unknown[], decoded), name);
    }
  });

  test(`${file}: what later versions and other encoders send is read as what it means`, () => {
    for (const { name, direction, means, bytes } of decode_only) {
      const decoded = decode(bytes);
      if (direction !== 'server') continue;
      const read = plain(checkServerFrame(decoded)!) as unknown[];
      assert.deepEqual(known(read, means), means, name);
    }
  });

  test(`${file}: a bad frame inside an intact envelope is found, and what follows it too`, () => {
    for (const { name, direction, bytes } of refused) {
      if (direction === 'server') assert.ok(isRefused(bytes), name);
      else if (!/UTF-8|numbered options/.test(name)) decode(bytes);
    }
  });

  test(`${file}: bytes that are no frame are refused`, () => {
    for (const { name, bytes } of broken) assert.throws(() => decode(bytes), FrameError, name);
  });
}

/** Missing trailing fields are nil. */
function padded(frame: unknown[], decoded: Decoded): unknown[] {
  const { length } = decoded as Decoded[];
  return [...frame, ...new Array<null>(Math.max(length - frame.length, 0)).fill(null)];
}

/** A frame that is not as it has to be, or that only clients send. */
function isRefused(hex: string): boolean {
  try {
    return checkServerFrame(decode(hex)) === undefined;
  } catch {
    return true;
  }
}

function recordsOf(body: Uint8Array): TopicRecord[] {
  const reader = new BodyReader({ topic: 't', epoch: 1, timeMs: 2 }, body);
  const records: TopicRecord[] = [];
  while (!reader.done) records.push(reader.next(records.length));
  return records;
}

const bodies = load<{ bodies: Body[]; decode_only: Body[]; refused: { name: string; body: string; error: string }[] }>('records');

function check({ name, body, records }: Body): void {
  const read = recordsOf(bytesOf(body));
  const seen = read.map(({ key, headers, payload }) => [key, { ...headers }, payload && { bin: Buffer.from(payload).toString('hex') }]);
  assert.deepEqual(seen, records.map(([key, headers, payload]) => [key, headers ?? {}, payload]), name);
}

test('bodies encode and decode as their records', () => {
  for (const vector of bodies.bodies) {
    check(vector);
    const inputs = vector.records.map(([key, headers, payload]) => ({
      key: key ?? undefined,
      headers: headers ?? undefined,
      payload: payload && bytesOf(payload.bin),
    }));
    assert.equal(Buffer.from(encodeBody(inputs)).toString('hex'), vector.body, vector.name);
  }
  bodies.decode_only.forEach(check);
});

test('a body that is no records is not read as some', () => {
  for (const { name, body, error } of bodies.refused) {
    // Limits on lengths are the server's to check; nothing at all holds no record.
    if (error !== 'malformed') continue;
    assert.throws(() => {
      for (const { key, headers } of recordsOf(bytesOf(body))) {
        if (key !== null && typeof key !== 'string') throw new FrameError('a key');
        if (Array.isArray(headers) || Object.values(headers).some((value) => typeof value !== 'string')) throw new FrameError('headers');
      }
    }, FrameError, name);
  }
});

test('names, patterns and partitions are as the vectors say', () => {
  const names = load<{
    names_valid: string[]; names_invalid: string[]; patterns_valid: string[]; patterns_invalid: string[];
    matches: { pattern: string; name: string; matches: boolean }[];
    partitions: { key: string; partitions: number; partition: number }[];
  }>('names');
  for (const name of names.names_valid) assert.equal(parseName(name), name);
  for (const name of names.names_invalid) assert.throws(() => parseName(name), { code: 'invalid_name' }, JSON.stringify(name));
  for (const pattern of names.patterns_valid) assert.equal(parsePattern(pattern), pattern);
  for (const pattern of names.patterns_invalid) assert.throws(() => parsePattern(pattern), { code: 'invalid_pattern' }, JSON.stringify(pattern));
  for (const { pattern, name, matches } of names.matches) assert.equal(patternMatches(pattern, name), matches, `${pattern} ${name}`);
  for (const { key, partitions, partition } of names.partitions) assert.equal(partitionOf(key, partitions), partition, key);
});
