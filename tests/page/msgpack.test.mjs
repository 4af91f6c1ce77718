// The codec of the page: every encoding, both ways, and what it must refuse.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decodeAll, encode } from '../../web/msgpack.js';

const bytes = (hex) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
function decode(encoded) {
  const values = decodeAll(encoded);
  assert.equal(values.length, 1);
  return values[0];
}
const hex = (encoded) => Buffer.from(encoded).toString('hex');

const SHORTEST = [
  [null, 'c0'], [false, 'c2'], [true, 'c3'],
  [0, '00'], [127, '7f'], [128, 'cc80'], [255, 'ccff'], [256, 'cd0100'], [65535, 'cdffff'],
  [65536, 'ce00010000'], [2 ** 32 - 1, 'ceffffffff'], [2 ** 32, 'cf0000000100000000'],
  [Number.MAX_SAFE_INTEGER, 'cf001fffffffffffff'],
  [2n ** 53n, 'cf0020000000000000'], [2n ** 64n - 1n, 'cfffffffffffffffff'],
  [-1, 'ff'], [-32, 'e0'], [-33, 'd0df'], [-128, 'd080'], [-129, 'd1ff7f'], [-32768, 'd18000'],
  [-32769, 'd2ffff7fff'], [-(2 ** 31), 'd280000000'], [-(2 ** 31) - 1, 'd3ffffffff7fffffff'],
  [-(2n ** 63n), 'd38000000000000000'],
  ['', 'a0'], ['hé', 'a368c3a9'], [new Uint8Array([1, 2]), 'c4020102'],
  [[], '90'], [[1, [null]], '920191c0'], [{ a: 1 }, '81a16101'],
];

test('every value has its shortest encoding, and comes back from it', () => {
  for (const [value, expected] of SHORTEST) {
    assert.equal(hex(encode(value)), expected, String(value));
    assert.deepEqual(decode(bytes(expected)), value);
  }
});

test('lengths choose the marker that holds them', () => {
  const cases = [
    ['x'.repeat(31), 'bf'], ['x'.repeat(32), 'd920'], ['x'.repeat(256), 'da0100'], ['x'.repeat(65536), 'db00010000'],
    [new Uint8Array(255), 'c4ff'], [new Uint8Array(256), 'c50100'], [new Uint8Array(65536), 'c600010000'],
    [Array(15).fill(0), '9f'], [Array(16).fill(0), 'dc0010'], [Array(65536).fill(0), 'dd00010000'],
    [Object.fromEntries(Array.from({ length: 16 }, (_, at) => [`k${at}`, at])), 'de0010'],
  ];
  for (const [value, start] of cases) {
    const encoded = encode(value);
    assert.ok(hex(encoded).startsWith(start), start);
    assert.deepEqual(decode(encoded), value);
  }
});

test('integers are read in any encoding', () => {
  for (const text of ['01', 'cc01', 'cd0001', 'ce00000001', 'cf0000000000000001', 'd001', 'd10001', 'd200000001', 'd30000000000000001']) {
    assert.equal(decode(bytes(text)), 1, text);
  }
});

test('several values in one buffer come one after the other', () => {
  assert.deepEqual(decodeAll(bytes('9101 9102')), [[1], [2]]);
  assert.equal(hex(encode([1], [2])), '91019102');
});

test('an absent option is left out of its map', () => {
  assert.equal(hex(encode({ a: undefined, b: 1 })), '81a16201');
});

test('a key named __proto__ is a key like any other', () => {
  const decoded = decode(encode(JSON.parse('{"__proto__": 1}')));
  assert.deepEqual(Object.keys(decoded), ['__proto__']);
});

test('bytes that are no values are refused', () => {
  const broken = {
    'a cut integer': 'cd01', 'a cut text': 'a261', 'a cut array': '9201', 'a cut float': 'cb3f',
    'a length beyond the buffer': 'dd7fffffff01', 'the unused marker': 'c1', 'text that is not UTF-8': 'a1ff',
    'too many levels': `${'91'.repeat(17)}01`,
  };
  for (const [what, text] of Object.entries(broken)) assert.throws(() => decodeAll(bytes(text)), what);
});

test('floats and extensions are read over, since a later version may add them', () => {
  for (const text of ['ca3fc00000', 'cb3ff8000000000000']) assert.deepEqual(decode(bytes(`92${text}07`)), [1.5, 7]);
  for (const text of ['d401aa', 'd501aaaa', 'd601aaaaaaaa', `d701${'aa'.repeat(8)}`, `d801${'aa'.repeat(16)}`,
    'c70201aaaa', 'c8000201aaaa', 'c90000000201aaaa']) {
    assert.equal(decode(bytes(`92${text}07`))[1], 7, text);
  }
});

test('values that no frame can hold are refused', () => {
  for (const value of [1.5, NaN, 2 ** 53, 2n ** 64n, () => 1, Symbol('s')]) {
    assert.throws(() => encode(value), String(value));
  }
  const circle = [];
  circle.push(circle);
  assert.throws(() => encode(circle), RangeError);
});

// The protocol's own vectors: see protocol/vectors/README.md.
const vectors = (file) => JSON.parse(readFileSync(new URL(`../../protocol/vectors/${file}.json`, import.meta.url)));

/** From the notation of the vectors. */
function value(json) {
  if (Array.isArray(json)) return json.map(value);
  if (json === null || typeof json !== 'object') return json;
  const [[key, only], ...others] = Object.entries(json).concat([['', '']]);
  if (others.length === 1 && key === 'int') return BigInt(only);
  if (others.length === 1 && key === 'bin') return bytes(only);
  return Object.fromEntries(Object.entries(json).map(([name, item]) => [name, value(item)]));
}

for (const file of ['connection', 'topics', 'cells', 'tallies']) {
  const { vectors: exact, decode_only: readable, refused, broken = [] } = vectors(file);

  test(`vectors: ${file} encode and decode exactly`, () => {
    assert.ok(exact.length > 20);
    for (const { name, frame, bytes: text } of exact) {
      assert.equal(hex(encode(value(frame))), text, name);
      assert.deepEqual(decode(bytes(text)), value(frame), name);
    }
  });

  test(`vectors: ${file} in other encodings are read`, () => {
    for (const { name, frame, bytes: text } of [...readable, ...refused]) {
      // Text that is not UTF-8 cannot be read; such a frame is the server's fault.
      if (text.includes('a1ff')) continue;
      const decoded = decode(bytes(text));
      if (frame !== undefined) assert.deepEqual(decoded, value(frame), name);
    }
  });

  test(`vectors: what is broken in ${file} is refused`, () => {
    for (const { name, bytes: text } of broken) assert.throws(() => decode(bytes(text)), name);
  });
}

/** Headers without an entry are no headers. */
const withoutEmptyHeaders = ([key, headers, payload]) => [key, Object.keys(headers ?? {}).length ? headers : null, payload];

test('vectors: bodies are their records one after the other', () => {
  const { bodies, decode_only: readable } = vectors('records');
  for (const { name, body, records } of bodies) {
    assert.equal(hex(encode(...value(records))), body, name);
  }
  for (const { name, body, records } of [...bodies, ...readable]) {
    assert.deepEqual(decodeAll(bytes(body)).map(withoutEmptyHeaders), value(records), name);
  }
});
