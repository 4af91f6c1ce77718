import { TidewireError } from './error.js';

const NAME_BYTES_MAX = 256;
const FORBIDDEN = /[\p{Cc}\p{White_Space}]/u;
const encoder = new TextEncoder();

function brokenRule(name: string): string | undefined {
  if (name === '' || encoder.encode(name).length > NAME_BYTES_MAX) return 'it has 1 to 256 bytes';
  if (FORBIDDEN.test(name)) return 'it has no control characters and no white space';
  return name.split('.').includes('') ? 'it has no empty token' : undefined;
}

/** Returns the name of a topic or cell, or throws `invalid_name` with the rule that it breaks. */
export function parseName(name: string): string {
  const rule = brokenRule(name) ?? (/[*>]/.test(name) ? "it has no '*' and no '>', which stand in patterns" : undefined);
  if (rule) throw new TidewireError('invalid_name', `invalid name '${name}': ${rule}`);
  return name;
}

/** Returns a pattern, or throws `invalid_pattern` with the rule that it breaks. */
export function parsePattern(pattern: string): string {
  let rule = brokenRule(pattern);
  const tokens = pattern.split('.');
  tokens.forEach((token, index) => {
    const isWildcard = token === '*' || (token === '>' && index === tokens.length - 1);
    if (!isWildcard && /[*>]/.test(token)) rule ??= "'*' stands for a whole token, and '>' for those at the end";
  });
  if (rule) throw new TidewireError('invalid_pattern', `invalid pattern '${pattern}': ${rule}`);
  return pattern;
}

/** Whether a valid pattern matches a valid name. */
export function patternMatches(pattern: string, name: string): boolean {
  const wanted = pattern.split('.');
  const tokens = name.split('.');
  if (name.startsWith('$') && (wanted[0] === '*' || wanted[0] === '>')) return false;
  for (let index = 0; index < wanted.length; index++) {
    if (wanted[index] === '>') return tokens.length > index;
    if (index >= tokens.length || (wanted[index] !== '*' && wanted[index] !== tokens[index])) return false;
  }
  return tokens.length === wanted.length;
}

/** Which of a topic's partitions gets the records of a key. */
export function partitionOf(key: string, partitions: number): number {
  let hash = 0xcbf29ce484222325n;
  for (const byte of encoder.encode(key)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return Number((hash ^ (hash >> 32n)) % BigInt(partitions));
}
