/**
 * Removes the folders of hosts that are gone, beside all else that the agent does and one after the other: functions may have left a million
 * files there, or what cannot be removed.
 */
import { chmod, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { reasonOf } from "../../base/system-errors.ts";

/** How long a node that ends waits for it. The next one removes what is left then. */
const LAST_LIMIT_MS = 5000;

export class Removals {
  readonly #warn: (message: string) => void;
  readonly #remove: (folder: string) => Promise<void>;
  #last: Promise<void> = Promise.resolve();
  #warned = false;

  /** `warn` hears of the first folder that cannot be removed; `remove` is a test's. */
  constructor(warn: (message: string) => void = () => {}, remove = removeAll) {
    this.#warn = warn;
    this.#remove = remove;
  }

  /** Resolves when the folder is gone, or cannot be removed. Never rejects. */
  remove(folder: string): Promise<void> {
    return (this.#last = this.#last.then(() =>
      this.#remove(folder).catch((error: unknown) => this.#failed(folder, error)),
    ));
  }

  /** Resolves when all that is to be removed is, or does not go in time. */
  async finish(limitMs = LAST_LIMIT_MS): Promise<void> {
    const overdue = Promise.withResolvers<void>();
    const timer = setTimeout(overdue.resolve, limitMs);
    await Promise.race([this.#last, overdue.promise]);
    clearTimeout(timer);
  }

  #failed(folder: string, error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#warn(
      `what a lease has left in ${folder} cannot be removed (${reasonOf(error)}), and takes room until it is: remove it; of others like it nothing is said`,
    );
  }
}

/** Also what functions have made unreadable. */
async function removeAll(folder: string): Promise<void> {
  try {
    await rm(folder, { recursive: true, force: true });
  } catch {
    await openUp(folder);
    await rm(folder, { recursive: true, force: true });
  }
}

async function openUp(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isDirectory()) await openUp(join(folder, entry.name));
}
