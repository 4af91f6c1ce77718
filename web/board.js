/** One bar per option, placed by transform, and the same in a table for those who hear the page. */

import { displayName, integer, percent, setText } from './format.js';

const FIRST_ROWS = 8;
const TICKS = 5;
/** A table that changes with each ballot cannot be listened to. */
const TABLE_INTERVAL_MS = 2000;

export class Board {
	#expanded = false;

	constructor({ board, more, rows }) {
		Object.assign(this, { board, more, tbody: rows });
		more.onclick = () => {
			this.#expanded = !this.#expanded;
			this.render(this.view);
		};
	}

	/** Empty places: nothing is known yet. */
	clear() {
		this.view = null;
		this.drawn = new Map();
		this.more.hidden = true;
		this.tbody.replaceChildren();
		this.board.replaceChildren();
		const axis = create('div', 'axis', this.board);
		this.ticks = Array.from({ length: TICKS }, (_, at) => {
			const tick = create('span', 'tick', axis);
			tick.style.left = `${((at + 1) / TICKS) * 100}%`;
			return tick;
		});
		this.line = create('div', 'line', axis);
		this.label = create('span', '', this.line);
		this.line.hidden = true;
		for (let at = 0; at < FIRST_ROWS; at += 1) place(create('div', 'row ghost', this.board), at);
		place(this.board, FIRST_ROWS);
	}

	/** @param {{items: object[], axisMax: number, half?: number}} view of Race or Runoff */
	render(view) {
		if (!this.view) for (const ghost of this.board.querySelectorAll('.ghost')) ghost.remove();
		this.view = view;
		const { length } = view.items;
		const shown = view.items.slice(0, this.#expanded ? length : FIRST_ROWS);
		for (const { root } of this.drawn.values()) root.classList.add('off');
		shown.forEach((item, at) => this.#drawRow(item, at));
		place(this.board, shown.length);
		this.#drawAxis(view);
		this.more.hidden = length <= FIRST_ROWS;
		this.more.ariaExpanded = this.#expanded;
		setText(this.more, this.#expanded ? `Show the first ${FIRST_ROWS}` : `Show all ${length}`);
		this.timer ??= setTimeout(() => this.#drawTable(), this.tbody.rows.length ? TABLE_INTERVAL_MS : 0);
	}

	#drawRow({ index, name, votes, gain = 0, share, tone, status = '' }, at) {
		const row = this.drawn.get(index) ?? createRow(name, this.board);
		const { root } = row;
		this.drawn.set(index, row);
		place(root, at);
		root.className = `row ${tone}`;
		root.dataset.votes = votes;
		root.style.setProperty('--share', votes / this.view.axisMax);
		root.style.setProperty('--kept', (votes - gain) / this.view.axisMax);
		setText(row.rank, at + 1);
		setText(row.status, status);
		setText(row.votes, integer(votes));
		setText(row.share, gain ? `+${integer(gain)}` : percent(share));
		row.share.classList.toggle('gained', gain > 0);
	}

	#drawAxis({ axisMax, half = NaN }) {
		this.ticks.forEach((tick, at) => setText(tick, integer((axisMax * (at + 1)) / TICKS)));
		this.line.hidden = Number.isNaN(half);
		this.board.style.setProperty('--line', (half || -9 * axisMax) / axisMax);
		setText(this.label, `half: ${integer(half)}`);
	}

	#drawTable() {
		this.timer = null;
		const items = this.view?.items ?? [];
		while (this.tbody.rows.length > items.length) this.tbody.lastChild.remove();
		items.forEach(({ name, votes, share, status = '' }, at) => {
			const row = this.tbody.rows[at] ?? this.tbody.insertRow();
			const texts = [at + 1, name, integer(votes), percent(share), status];
			texts.forEach((text, column) => setText(row.cells[column] ?? row.insertCell(), text));
		});
	}
}

const place = (root, at) => root.style.setProperty('--at', at);

function createRow(name, board) {
	const root = create('div', 'row', board);
	const row = { root };
	for (const part of ['rank', 'name', 'track', 'votes', 'share']) row[part] = create('span', part, root);
	setText(create('span', 'label', row.name), displayName(name));
	row.status = create('span', 'status', row.name);
	create('span', 'bar gain', row.track);
	create('span', 'bar', row.track);
	root.title = name;
	root.dataset.name = name;
	return row;
}

function create(tag, className, parent) {
	const created = document.createElement(tag);
	created.className = className;
	parent.append(created);
	return created;
}
