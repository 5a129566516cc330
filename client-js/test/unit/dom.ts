/** A document to render into, without the rest of a browser's globals. */
import { Window } from 'happy-dom';

/** Puts `document` and `window` where frameworks look for them. Returns what takes them away again. */
export function dom(): () => void {
  const window = new Window();
  const names = ['window', 'document', 'Element', 'HTMLElement', 'SVGElement', 'Node', 'MathMLElement', 'ShadowRoot'] as const;
  for (const name of names) Object.assign(globalThis, { [name]: name == 'window' ? window : window[name as 'document'] });
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
  return () => names.forEach((name) => Reflect.deleteProperty(globalThis, name));
}
