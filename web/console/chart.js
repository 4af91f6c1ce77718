/** A line of the last minute, with its numbers as a table for who does not see it. */

import { element } from './elements.js';
import { setText } from './format.js';

const POINTS = 60;
/** The table has every so manieth value: it is read, not glanced at. */
const TABLE_STEP = 10;
const HEIGHT = 30;

export class Chart {
	#values = [];
	#line;
	#cells;

	/** @param {string} title what it shows; `format`: a value as people read it */
	constructor(title, format) {
		this.format = format;
		const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
		this.#line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
		svg.setAttribute('viewBox', `0 0 ${POINTS} ${HEIGHT + 2}`);
		svg.setAttribute('preserveAspectRatio', 'none');
		svg.setAttribute('aria-hidden', 'true');
		svg.append(this.#line);
		const ages = Array.from({ length: POINTS / TABLE_STEP }, (_, at) => at * TABLE_STEP);
		this.#cells = ages.map(() => element('td', {}, '–'));
		const rows = ages.map((age, at) => element('tr', {},
			element('th', { scope: 'row' }, age ? `${age} s ago` : 'now'), this.#cells[at]));
		this.element = element('div', {}, svg,
			element('div', { className: 'unseen' }, element('table', {}, element('caption', {}, `${title}, last minute`), ...rows)));
	}

	add(value) {
		this.#values = [...this.#values, value].slice(-POINTS);
		const top = Math.max(1e-9, ...this.#values) * 1.1;
		const first = POINTS - this.#values.length;
		const point = (one, at) => `${first + at + 1},${HEIGHT + 1 - (one / top) * HEIGHT}`;
		this.#line.setAttribute('points', this.#values.map(point).join(' '));
		for (const [at, cell] of this.#cells.entries()) {
			const known = this.#values.at(-1 - at * TABLE_STEP);
			if (known !== undefined) setText(cell, this.format(known));
		}
	}
}
