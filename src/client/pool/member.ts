/** A worker of a pool: its lease, and the handles of functions that were called there. */
import type { Lease } from "../lease/lease.ts";
import type { SubmitOptions } from "../options/call-options.ts";

export type Call = (value: unknown, options?: SubmitOptions) => Promise<unknown>;

export class Member {
  readonly lease: Lease;
  /** Calls that it has. */
  calls = 0;
  idleSinceMs: number;
  /** Whether its worker is there: one that is replaced gets no calls meanwhile. */
  isUp = true;
  readonly #handles = new Map<string, Call>();
  #released = false;

  constructor(lease: Lease, nowMs: number) {
    this.lease = lease;
    this.idleSinceMs = nowMs;
  }

  /** Calls `up` when its worker is there again, and `gone` when it will not be any more, unless it was released. */
  onChange(up: () => void, gone: () => void): void {
    this.lease.on("part-lost", () => (this.isUp = false));
    this.lease.on("replaced", () => {
      this.isUp = true;
      up();
    });
    const over = (): void => {
      if (!this.#released) gone();
    };
    this.lease.on("lost", over);
    this.lease.on("released", over);
  }

  call(name: string, value: unknown, options: SubmitOptions | undefined): Promise<unknown> {
    let handle = this.#handles.get(name);
    if (handle === undefined) {
      handle = this.lease.function(name) as Call;
      this.#handles.set(name, handle);
    }
    return handle(value, options);
  }

  async release(): Promise<void> {
    this.#released = true;
    await this.lease.release();
  }
}
