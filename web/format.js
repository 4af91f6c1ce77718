/** Numbers and names as people read them, and text that is only touched when it changes. */

const integers = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

export const integer = (number) => integers.format(number);
export const percent = (share) => `${(share * 100).toFixed(1)}%`;
/** Two figures that count: 0.84 ms, 3.6 ms, 12 ms. */
export const ms = (value) => value.toFixed(value < 1 ? 2 : Number(value < 10));
export const age = (ageMs) => (ageMs < 10_000 ? `${(ageMs / 1000).toFixed(1)} s` : `${integer(ageMs / 1000)} s`);

/** Registers print capitals, which are hard to read in a list; a short single word may be an abbreviation. */
export function displayName(name) {
	if (name !== name.toUpperCase() || /^\S{1,4}$/.test(name)) return name;
	return name.toLowerCase().replace(/(?<![\p{L}\p{N}])\p{L}/gu, (letter) => letter.toUpperCase());
}

export function setText(target, text) {
	if (target.textContent !== String(text)) target.textContent = text;
}
