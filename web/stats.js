/** The figures beside the board, and how far the count is. */

import { integer, ms, percent, setText } from './format.js';

const SPARK_POINTS = 120;
const SPARK_INTERVAL_MS = 500;

export class Stats {
	#sampledAtMs = 0;

	constructor(elements) {
		this.elements = elements;
	}

	clear() {
		this.rates = [];
		this.elements.spark.setAttribute('points', '');
		for (const id of ['rate', 'p50', 'p99', 'watchers']) setText(this.elements[id], '–');
	}

	/** @param {object} status any field may be missing */
	status({ votes_per_s: rate, watchers, latency_ms: { p50, p99 } = {} }, nowMs) {
		const show = (id, value, text) => { if (Number.isFinite(value)) setText(this.elements[id], text(value)); };
		show('rate', rate, integer);
		show('watchers', watchers, integer);
		show('p50', p50, ms);
		show('p99', p99, (value) => `${ms(value)} ms`);
		if (Number.isFinite(rate) && nowMs - this.#sampledAtMs >= SPARK_INTERVAL_MS) this.#spark(rate, nowMs);
	}

	#spark(rate, nowMs) {
		this.#sampledAtMs = nowMs;
		this.rates = [...this.rates, rate].slice(-SPARK_POINTS);
		const top = Math.max(1, ...this.rates) * 1.1;
		const first = SPARK_POINTS + 1 - this.rates.length;
		this.elements.spark.setAttribute('points', this.rates.map((value, at) => `${first + at},${31 - (value / top) * 30}`).join(' '));
	}

	roundtrip(roundtripMs) {
		setText(this.elements.roundtrip, `${ms(roundtripMs)} ms`);
	}

	/** @param {number} total 0: nobody knows */
	ballots(ballots, total) {
		const { elements } = this;
		const share = total ? Math.min(1, ballots / total) : 0;
		setText(elements.ballots, integer(ballots));
		setText(elements['ballots-of'], total ? `of ${integer(total)} ballots` : 'ballots counted');
		setText(elements['ballots-share'], total ? percent(share) : '');
		elements.progress.ariaValueNow = Math.floor(share * 100);
		elements.progress.style.setProperty('--share', share);
	}
}
