/**
 * Operations of a module that the engine does not tell of (`traces.ts`): they are counted where they begin, in workers of a host that
 * may be kept, and in no other.
 */

/** With so many signals, and whenever there are twice as many as were pending, those that are not are forgotten. */
const MIN_SIGNALS = 64;

type Method = (this: unknown, ...args: unknown[]) => unknown;

export class UnseenOperations {
  #waits = 0;
  #ciphers = 0;
  #signals: WeakRef<AbortSignal>[] = [];
  #room = MIN_SIGNALS;

  /** Replaces the functions that begin them. To be made before the module loads. */
  constructor() {
    replace(AbortSignal, "timeout", (begin) => (...args) => {
      const signal = begin.apply(AbortSignal, args) as AbortSignal;
      this.#remember(signal);
      return signal;
    });
    replace(Atomics, "waitAsync", (begin) => (...args) => {
      const waiting = begin.apply(Atomics, args) as ReturnType<typeof Atomics.waitAsync>;
      if (waiting.async) {
        this.#waits++;
        void waiting.value.then(() => this.#waits--);
      }
      return waiting;
    });
    for (const name of Object.keys(SubtleCrypto.prototype))
      replace(SubtleCrypto.prototype, name, (begin) => {
        const began = (): void => void this.#ciphers++;
        const over = (): void => void this.#ciphers--;
        return function (...args) {
          const result = begin.apply(this, args);
          if (!(result instanceof Promise)) return result;
          began();
          // The caller gets what settles after it was counted, and hears of a rejection that nothing handles.
          return result.finally(over);
        };
      });
  }

  /** What has not ended, in words; null where nothing was found. */
  left(): string | null {
    if (this.#ciphers > 0) return "an operation of WebCrypto that has not ended";
    if (this.#waits > 0) return "an Atomics.waitAsync that has not ended";
    return this.#signals.some(isPending) ? "a timer (AbortSignal.timeout)" : null;
  }

  #remember(signal: AbortSignal): void {
    if (this.#signals.length >= this.#room) {
      this.#signals = this.#signals.filter(isPending);
      this.#room = Math.max(MIN_SIGNALS, 2 * this.#signals.length);
    }
    this.#signals.push(new WeakRef(signal));
  }
}

/** One that is gone has nothing that hears it. */
function isPending(signal: WeakRef<AbortSignal>): boolean {
  return signal.deref()?.aborted === false;
}

function replace(of: object, name: string, by: (begin: Method) => Method): void {
  const methods = of as Record<string, Method>;
  const begin = methods[name]!;
  methods[name] = Object.defineProperties(by(begin), {
    name: { value: name, configurable: true },
    length: { value: begin.length, configurable: true },
  });
}
