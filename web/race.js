/** The standings of a tally, as the board shows them. */

/** An axis that follows each wobble of the first ballots would make every bar jump. */
const AXIS_SLACK = 0.85;

export class Race {
	#axisMax = 0;

	view(options, { counts, ballots }, total) {
		const order = ranked(counts);
		const lead = counts[order[0]];
		// Where the leader will end at this pace, so that bars grow as the count goes on.
		const expected = lead * Math.max(1, total / Math.max(1, ballots));
		if (expected > this.#axisMax || expected < this.#axisMax * AXIS_SLACK) this.#axisMax = niceCeiling(expected);
		const items = order.map((index) => ({
			index, name: options[index], votes: counts[index], share: counts[index] / Math.max(1, ballots),
			tone: lead && counts[index] === lead ? 'lead' : '',
		}));
		return { items, axisMax: this.#axisMax };
	}
}

/** Indexes by votes, most first; equal ones in declared order. */
export const ranked = (votes) => [...votes.keys()].sort((a, b) => votes[b] - votes[a] || a - b);

/** A round number that is not below the value: where an axis can end. */
export function niceCeiling(value) {
	const power = 10 ** Math.floor(Math.log10(Math.max(value, 10)));
	return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value) * power;
}
