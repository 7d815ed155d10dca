/** Where a command writes a result: stdout or a file. Bun.write begins anew when a pipe takes only a part. */
import { closeSync, openSync, writeSync } from "node:fs";
import { EnvironmentError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";

const STDOUT = 1;

export class Output implements Disposable {
  readonly #descriptor: number;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Opens the file of `--output`; `-` is stdout. Throws {@link EnvironmentError}. */
  static open(path = "-"): Output {
    if (path === "-") return new Output(STDOUT);
    try {
      return new Output(openSync(path, "w"));
    } catch (cause) {
      throw new EnvironmentError(
        `cannot write --output ${path}: ${reasonOf(cause)}; name a writable file, or - for stdout`,
        { cause },
      );
    }
  }

  get isStdout(): boolean {
    return this.#descriptor === STDOUT;
  }

  /** Synchronous, so that nothing is lost when the command exits; a full disk is an error, a closed pipe is not. */
  write(bytes: Uint8Array): void {
    for (let written = 0; written < bytes.length;) {
      try {
        written += writeSync(this.#descriptor, bytes, written);
      } catch (cause) {
        const { code } = cause as { code?: string };
        if (code === "EAGAIN") {
          // A pipe that another program has made non-blocking, whose reader is slow.
          Bun.sleepSync(1);
          continue;
        }
        if (code === "EPIPE") return;
        throw new EnvironmentError(
          `the result could not be written: ${reasonOf(cause)}; choose another --output`,
          { cause },
        );
      }
    }
  }

  [Symbol.dispose](): void {
    if (!this.isStdout) closeSync(this.#descriptor);
  }
}
