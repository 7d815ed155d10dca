/** The one way from the library into a program's listeners: what they throw harms the program's own tick, and nothing of ours. */

/**
 * Calls a listener of the program. What it throws becomes an uncaught exception of the program, as from a timer of its own; whoever
 * notifies goes on. A promise that it returns is the program's, and so is its rejection.
 */
export function notify<Args extends readonly unknown[]>(
  listener: (...args: Args) => unknown,
  ...args: Args
): void {
  try {
    listener(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
