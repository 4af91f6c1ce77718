/** The tiles: how much the server does, how fast it answers, and how it is. */

import { Chart } from './chart.js';
import { byId, element } from './elements.js';
import { integer, ms, percent, setText } from './format.js';

const units = ['B', 'kB', 'MB', 'GB', 'TB'];

export function bytes(count) {
	const at = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
	const value = count / 1000 ** at;
	return `${at && value < 100 ? value.toFixed(1) : integer(value)} ${units[at]}`;
}

class Tile {
	constructor(title, unit, format) {
		this.format = format;
		this.figure = element('span', {}, '–');
		this.note = element('p', { className: 'note' });
		this.chart = new Chart(title, (value) => `${format(value)} ${unit}`);
		const heading = element('h2', {}, title);
		const figure = element('p', { className: 'figure' }, this.figure, ' ', element('small', {}, unit));
		this.element = element('article', { className: 'tile' }, heading, figure, this.note, this.chart.element);
	}

	show(value, note) {
		setText(this.figure, this.format(value));
		setText(this.note, note);
		this.chart.add(value);
	}
}

const TILES = {
	deliveries: ['Deliveries', '/s', integer],
	updates: ['Updates', '/s', integer],
	requests: ['Requests', '/s', integer],
	roundtrip: ['Round trip', 'ms', ms],
	lag: ['Fan-out lag', 'ms', integer],
	connections: ['Connections', '', integer],
};

export class Figures {
	#tiles = Object.fromEntries(Object.entries(TILES).map(([name, tile]) => [name, new Tile(...tile)]));
	#before;
	#roundtrips = [];

	constructor() {
		byId('tiles').append(...Object.values(this.#tiles).map((tile) => tile.element));
	}

	/** What the server says of itself, once a second. */
	take({ time_ms: timeMs, counts, now, server }) {
		const before = this.#before;
		this.#before = { timeMs, counts };
		// A server that was started again counts anew.
		if (before && timeMs > before.timeMs && counts.requests >= before.counts.requests) {
			const rate = (name) => (Math.max(0, counts[name] - before.counts[name]) * 1000) / (timeMs - before.timeMs);
			this.#tiles.deliveries.show(rate('deliveries'), `${integer(rate('records'))} records/s`);
			this.#tiles.updates.show(rate('updates'), `${bytes(rate('written_bytes'))}/s written`);
			this.#tiles.requests.show(rate('requests'), `${integer(rate('refusals'))}/s refused`);
		}
		this.#tiles.lag.show(now.fanout_lag_ms, `commit ${integer(now.commit_ms)} ms, ${now.load}`);
		this.#tiles.connections.show(now.connections, `${integer(now.subscriptions)} subscription${now.subscriptions === 1 ? '' : 's'}`);
		setText(byId('node'), server.node);
		setText(byId('about'), `${server.name}: ${integer(now.topics)} topics with ${bytes(now.topic_bytes)}, `
			+ `${integer(now.cells)} counters, tallies and presence sets, ${percent(now.memory_permille / 1000)} of the memory that it may take`);
		warn(server);
	}

	/** How long the server took to answer this page. */
	roundtrip(tookMs) {
		this.#roundtrips = [...this.#roundtrips, tookMs].slice(-120);
		const sorted = this.#roundtrips.toSorted((one, other) => one - other);
		const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
		this.#tiles.roundtrip.show(tookMs, `p50 ${ms(at(0.5))}, p99 ${ms(at(0.99))} ms`);
	}
}

function warn({ is_insecure: isInsecure, is_draining: isDraining, journal_failure: failure, has_accounts: hasAccounts }) {
	const warnings = [
		isInsecure && 'insecure = true: whoever reaches the server can read and change everything, and listen on the way.',
		isDraining && 'The server is about to stop: clients have been told to go.',
		failure && `The journal has failed, and nothing more is kept: ${failure}`,
	].filter(Boolean);
	const shown = [...byId('warnings').children].map((item) => item.textContent);
	if (shown.join('\n') !== warnings.join('\n')) {
		byId('warnings').replaceChildren(...warnings.map((warning) => element('p', {}, warning)));
	}
	document.body.dataset.accounts = hasAccounts ? 'yes' : 'no';
}
