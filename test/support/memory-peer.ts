/** A peer of a manager, over memory: it says what it wants, sound or not, and hears all that comes back. */
import type { Wire } from "../../src/control/connection.ts";
import type { Manager } from "../../src/manager/manager.ts";
import type { Way } from "../../src/manager/peers/peer.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";

export class MemoryPeer {
  readonly heard: Record<string, unknown>[] = [];
  closed = false;
  /** Undefined when the manager has no room for it. */
  readonly #there: ReturnType<Manager["connect"]>;

  constructor(manager: Manager, way: Way = { reachedAt: "10.0.0.1", comesFrom: "10.0.0.2" }) {
    const reader = new FrameReader();
    const wire: Wire = {
      write: (bytes) => {
        this.heard.push(...(reader.push(bytes) as Record<string, unknown>[]));
        return bytes.length;
      },
      end: () => void (this.closed = true),
      terminate: () => void (this.closed = true),
      ...{ ref() {}, unref() {} },
    };
    this.#there = manager.connect(wire, way);
  }

  send(...messages: object[]): this {
    for (const message of messages) this.write(encodeFrame(message));
    return this;
  }

  write(bytes: Uint8Array): void {
    this.#there?.received(bytes);
  }

  /** The connection ends, as when its process does. */
  leave(error?: Error): void {
    this.#there?.close(error);
  }

  /** The first message of this kind that came. */
  find(t: string): Record<string, unknown> | undefined {
    return this.heard.find((message) => message["t"] === t);
  }

  all(t: string): Record<string, unknown>[] {
    return this.heard.filter((message) => message["t"] === t);
  }
}
