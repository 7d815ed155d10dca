/** Places of clients in a node's line: which of them wait in vain, and what is set aside for one whose turn it is. */
import { LAYOUT } from "../../../ffi/layout.ts";
import { formatBytes } from "../../base/units.ts";
import { type Answer, RequestRefused } from "../../control/requests.ts";
import { DRAINING, type LeaseBook } from "../../lease/book.ts";
import type { MessageOf } from "../../protocol/declare.ts";
import type { WaitInLine } from "../../protocol/lease-messages.ts";
import type { ClusterQuota } from "./cluster-quota.ts";
import type { Identity } from "./identity.ts";
import { FULL, type Held, type WaitingLine, type WantedRoom } from "./waiting-line.ts";

export class Places {
  readonly #line: WaitingLine;
  readonly #book: LeaseBook;
  readonly #quota: ClusterQuota;
  readonly #refusal: () => string | null;

  /** `refusal`: why the node grants nothing now, null when it does. */
  constructor(
    line: WaitingLine,
    book: LeaseBook,
    quota: ClusterQuota,
    refusal: () => string | null,
  ) {
    this.#line = line;
    this.#book = book;
    this.#quota = quota;
    this.#refusal = refusal;
  }

  /** Offers the client room when it is its turn; `recall` asks it to give that back. Rejects with {@link RequestRefused} when it waits in vain. */
  async wait(
    client: { readonly identity: Identity },
    request: MessageOf<typeof WaitInLine>,
    answer: Answer<typeof WaitInLine>,
    recall: () => void,
  ): Promise<void> {
    const { id, atLeast = 1, coresPerWorker, memoryBytes } = request;
    const { waitMs, waitedMs, beganAtMs, holdMs, isPart = false } = request;
    if (!this.#book.canEverHold(atLeast * coresPerWorker, memoryBytes))
      throw new RequestRefused(
        FULL,
        `the node never has ${atLeast * coresPerWorker} cores and ${formatBytes(memoryBytes)}; ask for less, or another node`,
      );
    const { user, weight } = client.identity;
    const workers = Math.min(request.workers, LAYOUT.maxWorkers);
    await this.#line.place(
      { client, user, weight, request: id, waitMs },
      {
        ...{ workers, atLeast, coresPerWorker, memoryBytes, waitedMs, beganAtMs, holdMs, isPart },
        hold: (room) => this.#hold(client, room),
        offered: (offered, forMs) =>
          answer.send({ offer: id, workers: offered, holdMs: forMs, last: offered === workers }),
        recall,
      },
    );
  }

  #hold({ identity }: { readonly identity: Identity }, room: WantedRoom): Held | undefined {
    const refused = this.#refusal();
    if (refused !== null) throw new RequestRefused("RFAAS_NODE_REFUSES", refused);
    if (this.#book.draining) throw new RequestRefused("RFAAS_NODE_DRAINING", DRAINING);
    const { atLeast, coresPerWorker, memoryBytes } = room;
    const cores = atLeast * coresPerWorker;
    const over = this.#quota.refusal(identity, { cores, memoryBytes });
    if (over) throw new RequestRefused("RFAAS_TOKEN_LIMIT", over.why, { limit: over.limit });
    return this.#book.hold(room);
  }
}
