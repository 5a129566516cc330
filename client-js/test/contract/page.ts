/** The scenarios in a page, and the controls by HTTP. */
import { createClient } from '../../src/index.js';
import { createSharedClient } from '../../src/shared.js';
import type { RelayClient } from '../../src/types.js';
import type { Control } from './lab.js';
import { scenarios } from './scenarios.js';
import { plain } from './plain.js';

declare global {
  interface Window {
    /** Plays a scenario; returns what went wrong. */
    play(name: string): Promise<string | undefined>;
    control: Control;
    createClient: typeof createClient;
    createSharedClient: typeof createSharedClient;
    relay: RelayClient;
    heard: string[];
    notes: string[];
  }
}

export const control = new Proxy({} as Control, {
  get: (_, operation) => async (...args: unknown[]) => {
    const response = await fetch('/control', { method: 'POST', body: JSON.stringify({ operation, args }) });
    if (!response.ok) throw new Error(await response.text());
    return response.json();
  },
});

window.control = control;
window.createClient = createClient;
window.createSharedClient = createSharedClient;
window.heard = [];
window.notes = [];
window.play = async (name) => {
  try {
    await (scenarios[name] ?? plain[name])!({ control, options: {} });
    return undefined;
  } catch (error) {
    // Firefox leaves the message out of the stack.
    return `${error}\n${(error as Error).stack}`;
  }
};
