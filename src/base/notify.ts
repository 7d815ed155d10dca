/** The one way from the library into a program's listeners: an error that they throw must not disturb the library. */

/**
 * Calls a listener of the program. An error that it throws becomes an uncaught exception of the program, as from a timer of its own,
 * and does not reach the caller of this function. A promise that it returns is the program's, and so is its rejection.
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
