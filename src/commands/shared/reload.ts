/** What a node or a manager reads again when it is told to by SIGHUP. The signal never ends it. */
import { log } from "./log.ts";

/** A file, or files that belong together, in use. */
export interface Reloadable {
  /** For the log, such as `the prices of /etc/prices.json`. */
  readonly what: string;
  /** Reads it, and uses what it has read. Throws, and changes nothing, where that is of no use. */
  read(): void;
}

/** From now on SIGHUP reads what is among `files` then. */
export function reloadOnHangup(files: readonly Reloadable[]): void {
  process.on("SIGHUP", () => {
    if (files.length === 0)
      log.info("SIGHUP: there are no files to read again, and all goes on; SIGTERM ends it");
    for (const { what, read } of files) {
      try {
        read();
        log.info(`SIGHUP: read ${what} again`);
      } catch (error) {
        log.warn(`SIGHUP: ${what} stay as they were: ${(error as Error).message}`);
      }
    }
  });
}
