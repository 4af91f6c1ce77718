/** What was refused, as it happens. */

import { byId, element } from './elements.js';
import { integer, setText } from './format.js';

const SHOWN_MAX = 100;

export class Refusals {
	#count = 0;
	#leftOut = 0;

	take({ refusals, left_out: leftOut }) {
		this.#count += refusals.length + leftOut;
		this.#leftOut += leftOut;
		const list = byId('refusals-list');
		list.prepend(...refusals.slice(-SHOWN_MAX).reverse().map(item));
		while (list.children.length > SHOWN_MAX) list.lastChild.remove();
		if (this.#count === 0) return;
		const more = this.#leftOut ? `; ${integer(this.#leftOut)} came too fast to be shown` : '';
		setText(byId('refusals-note'), `${integer(this.#count)} so far${more}.`);
	}

	/** The server was started again, or could not be reached: what it says next may be known already. */
	forget() {
		byId('refusals-list').replaceChildren();
		[this.#count, this.#leftOut] = [0, 0];
	}
}

function item({ time_ms: timeMs, code, message, session, address, subject }) {
	const who = [subject, session, address].filter(Boolean).join(' · ') || 'before HELLO';
	const time = element('time', { dateTime: new Date(timeMs).toISOString() }, new Date(timeMs).toLocaleTimeString());
	return element('li', {},
		element('p', { className: 'head' }, element('strong', {}, code), time),
		element('p', {}, message), element('p', { className: 'note' }, who));
}
