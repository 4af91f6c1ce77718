/** The instant runoff: one round at a time, by hand or played. */

import { displayName, integer, percent, setText } from './format.js';
import { niceCeiling, ranked } from './race.js';

const STEP_MS = 1000;

export class Runoff {
	/** {options, ballots, rounds}; a round has votes, exhausted, and eliminated or winner. */
	result = null;
	at = 0;
	#timer;
	#leftIn = [];

	constructor(elements, onStep) {
		Object.assign(this, { elements, onStep });
		elements.prev.onclick = () => this.step(this.at - 1);
		elements.next.onclick = () => this.step(this.at + 1);
		elements.play.onclick = () => this.toggle();
		elements.scrub.oninput = () => this.step(elements.scrub.value - 1);
	}

	get last() {
		return this.result.rounds.length - 1;
	}

	load(result) {
		this.pause();
		this.result = result;
		if (!result) return;
		const { options, rounds } = result;
		this.at = this.last;
		this.#leftIn = options.map((_, index) => rounds.findIndex(({ eliminated }) => eliminated === index));
		this.axisMax = niceCeiling(1.02 * Math.max(...rounds.flatMap((round) => [this.#half(round), ...round.votes])));
		this.elements.scrub.max = rounds.length;
	}

	/** Plays from here, or from the first round when it is at the end; or pauses. */
	toggle() {
		if (this.#timer) return this.pause();
		if (this.at === this.last) this.#show(0, true);
		this.#timer = setInterval(() => {
			this.#show(this.at + 1, false);
			if (this.at === this.last) this.pause();
		}, STEP_MS);
		return setText(this.elements.play, 'Pause');
	}

	pause() {
		clearInterval(this.#timer);
		this.#timer = null;
		setText(this.elements.play, 'Play');
	}

	step(at) {
		this.pause();
		this.#show(at, true);
	}

	#show(at, byHand) {
		this.at = at;
		this.onStep(byHand);
	}

	/** As the board shows it; `gain` is what is new of the votes. */
	view() {
		const { options, rounds } = this.result;
		const round = rounds[this.at];
		const before = rounds[this.at - 1] ?? round;
		const isOut = (index) => this.#leftIn[index] >= 0 && this.#leftIn[index] < this.at;
		// Who is out stands below, the last to leave first.
		const order = ranked(options.map((_, index) => (isOut(index) ? this.#leftIn[index] - rounds.length : round.votes[index])));
		const items = order.map((index, place) => {
			const item = {
				index, name: options[index], votes: round.votes[index], tone: place ? '' : 'lead',
				gain: Math.max(0, round.votes[index] - before.votes[index]),
				share: round.votes[index] / this.#continuing(round),
			};
			if (round.winner === index) return { ...item, tone: 'winner', status: 'Winner' };
			if (round.eliminated === index) return { ...item, tone: 'leaving', status: 'Eliminated' };
			return isOut(index) ? { ...item, tone: 'out', status: `Out in round ${this.#leftIn[index] + 1}` } : item;
		});
		return { items, axisMax: this.axisMax, half: this.#half(round) };
	}

	/** How many ballots still count; never 0, for it divides. */
	#continuing({ exhausted }) {
		return Math.max(1, this.result.ballots - exhausted);
	}

	#half(round) {
		return Math.floor(this.#continuing(round) / 2);
	}

	draw() {
		const { elements, result: { rounds, ballots } } = this;
		const round = rounds[this.at];
		const number = `Round ${this.at + 1} of ${rounds.length}`;
		elements.scrub.value = this.at + 1;
		elements.scrub.ariaValueText = `${number}. ${this.story()}`;
		elements.prev.disabled = this.at === 0;
		elements.next.disabled = this.at === this.last;
		setText(elements.round, number);
		setText(elements.story, this.story());
		setText(elements.continuing, integer(ballots - round.exhausted));
		setText(elements.half, integer(this.#half(round)));
		setText(elements.exhausted, `${integer(round.exhausted)} (${percent(round.exhausted / Math.max(1, ballots))})`);
	}

	/** Who won, in one sentence. */
	verdict() {
		const round = this.result.rounds[this.last];
		if (round.winner == null) return 'Nobody has won.';
		const votes = round.votes[round.winner];
		const share = percent(votes / this.#continuing(round));
		return `${displayName(this.result.options[round.winner])} wins with ${integer(votes)} votes, ${share} of the continuing ballots.`;
	}

	/** This round in one sentence. */
	story() {
		const { eliminated, votes } = this.result.rounds[this.at];
		if (eliminated == null) return this.verdict();
		const moving = votes[eliminated] === 1 ? '1 ballot moves' : `${integer(votes[eliminated])} ballots move`;
		return `${displayName(this.result.options[eliminated])} is eliminated; ${moving} on.`;
	}
}
