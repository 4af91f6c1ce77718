/**
 * MessagePack as Tidewire's frames use it. Integers beyond 2^53 - 1 are BigInt, so that an epoch
 * or a counter never loses a digit. Floats and extensions are not sent, but read: a field of a
 * later version may hold them.
 */

const DEPTH_MAX = 16;
const texts = new TextEncoder();
// ignoreBOM keeps a leading U+FEFF: names are compared byte by byte.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Encodes values one after the other, without an enclosing array. */
export function encode(...values) {
	const out = [];
	for (const value of values) write(out, value, 0);
	return Uint8Array.from(out);
}

/** Decodes values that stand one after the other. Byte strings are views of `bytes`. */
export function decodeAll(bytes) {
	const reader = new Reader(bytes);
	const values = [];
	while (reader.at < bytes.length) values.push(reader.value(0));
	return values;
}

function write(out, value, depth) {
	if (value === null || value === undefined) out.push(0xc0);
	else if (typeof value === 'boolean') out.push(value ? 0xc3 : 0xc2);
	else if (typeof value === 'bigint' || Number.isSafeInteger(value)) writeInteger(out, value);
	else if (typeof value === 'string') writeAll(out, texts.encode(value), 0xa0, 31, 0xd9, 0);
	else if (value instanceof Uint8Array) writeAll(out, value, 0, -1, 0xc4, 0);
	else if (typeof value !== 'object') throw new TypeError(`a frame cannot hold ${String(value)}`);
	else if (depth === DEPTH_MAX) throw new RangeError('nested too deep');
	else if (Array.isArray(value)) writeAll(out, value, 0x90, 15, 0xdc, 1, depth + 1);
	else {
		// An absent option is left out, not sent as nil.
		const entries = Object.entries(value).filter(([, item]) => item !== undefined);
		writeLength(out, entries.length, 0x80, 15, 0xde, 1);
		for (const item of entries.flat()) write(out, item, depth + 1);
	}
}

/** A length and what has it: bytes, or values if they have a depth. */
function writeAll(out, items, fixed, fixedMax, marker, powerMin, depth) {
	writeLength(out, items.length, fixed, fixedMax, marker, powerMin);
	for (const item of items) depth ? write(out, item, depth) : out.push(item);
}

function writeInteger(out, number) {
	const integer = BigInt(number);
	if (integer >= -32n && integer < 128n) return writeBytes(out, integer, 0);
	const as = integer < 0n ? BigInt.asIntN : BigInt.asUintN;
	const power = [0, 1, 2, 3].find((candidate) => as(8 << candidate, integer) === integer);
	if (power === undefined) throw new RangeError(`${number} does not fit in 64 bits`);
	out.push((integer < 0n ? 0xd0 : 0xcc) + power);
	return writeBytes(out, integer, power);
}

/** The shortest form of a length: in the marker, or in 2^power bytes behind one of its kin. */
function writeLength(out, length, fixed, fixedMax, marker, powerMin) {
	if (length <= fixedMax) return out.push(fixed | length);
	let power = powerMin;
	while (length >= 256 ** (1 << power)) power += 1;
	out.push(marker + power - powerMin);
	return writeBytes(out, BigInt(length), power);
}

function writeBytes(out, integer, power) {
	for (let shift = (8 << power) - 8; shift >= 0; shift -= 8) out.push(Number((integer >> BigInt(shift)) & 0xffn));
}

class Reader {
	at = 0;

	constructor(bytes) {
		this.bytes = bytes;
		this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	}

	take(count) {
		const start = this.at;
		this.at += count;
		if (this.at > this.bytes.length) throw new RangeError('the bytes end inside a value');
		return start;
	}

	/** A number of 2^power bytes. @param {'Uint'|'Int'|'Float'} type */
	number(type, power) {
		const big = power === 3 && type !== 'Float' ? 'Big' : '';
		const read = this.view[`get${big}${type}${8 << power}`](this.take(1 << power));
		return big && Number.isSafeInteger(Number(read)) ? Number(read) : read;
	}

	binary(length) {
		const start = this.take(length);
		return this.bytes.subarray(start, this.at);
	}

	text(length) {
		return utf8.decode(this.binary(length));
	}

	array(length, depth) {
		if (length && depth === DEPTH_MAX) throw new RangeError('nested too deep');
		const items = [];
		for (let index = 0; index < length; index += 1) items.push(this.value(depth + 1));
		return items;
	}

	map(length, depth) {
		const flat = this.array(length * 2, depth);
		// fromEntries defines properties, so a key "__proto__" is a key like any other.
		return Object.fromEntries(Array.from({ length }, (_, at) => flat.slice(2 * at, 2 * at + 2)));
	}

	value(depth) {
		const marker = this.number('Uint', 0);
		const length = (first) => this.number('Uint', marker - first);
		if (marker < 0x80) return marker;
		if (marker < 0x90) return this.map(marker & 0x0f, depth);
		if (marker < 0xa0) return this.array(marker & 0x0f, depth);
		if (marker < 0xc0) return this.text(marker & 0x1f);
		if (marker === 0xc0) return null;
		if (marker === 0xc1) throw new TypeError('a byte that begins no value');
		if (marker < 0xc4) return marker === 0xc3;
		if (marker < 0xc7) return this.binary(length(0xc4));
		if (marker < 0xca) return this.binary(length(0xc7) + 1);
		if (marker < 0xcc) return this.number('Float', marker - 0xc8);
		if (marker < 0xd0) return length(0xcc);
		if (marker < 0xd4) return this.number('Int', marker - 0xd0);
		if (marker < 0xd9) return this.binary((1 << (marker - 0xd4)) + 1);
		if (marker < 0xdc) return this.text(length(0xd9));
		if (marker < 0xde) return this.array(length(0xdb), depth);
		if (marker < 0xe0) return this.map(length(0xdd), depth);
		return marker - 0x100;
	}
}
