/** What a manager shares with others of its cluster, and how it takes over from one and steps down for one. */
import { Type } from "@sinclair/typebox";
import { SYSTEM_CLOCK } from "../../base/clock.ts";
import {
  type ClusterState,
  type FinalBill,
  type Identity,
  type Standing,
} from "../../manager/cluster-state/cluster-state.ts";
import { clusterStateAt } from "../../manager/cluster-state/registry.ts";
import type { Enrolling } from "../../manager/peers/newcomer-desk.ts";
import type { ManagerRole } from "../../manager/http/operation.ts";
import type { OpenLeases } from "../../manager/ledger/lost-leases.ts";
import type { LedgerSink } from "../../manager/ledger/usage-intake.ts";
import type { Ledger } from "../../manager/ledger/ledger.ts";
import type { Registry } from "../../manager/nodes/registry.ts";
import { keepSeen, presumeSeen } from "../../manager/nodes/seen.ts";
import { keepWishes, restoreWishes } from "../../manager/nodes/wishes.ts";
import type { ManagerServer } from "../../manager/server.ts";
import { text } from "../../options/fields.ts";
import { pathField } from "../shared/fields.ts";
import { log } from "../shared/log.ts";

export const registryFields = {
  registry: Type.Optional(
    text("a URL such as etcd://10.0.0.1:2379,10.0.0.2:2379/rfaas", {
      description:
        "where several managers keep what they share, one of which leads: etcd://[USER@]HOST:PORT[,..][/PREFIX]",
      variable: "RFAAS_REGISTRY",
      otherwise: "this manager is the only one",
      placeholder: "url",
    }),
  ),
  registryCa: pathField("file", {
    description: "with --registry: TLS, to servers whose certificates this CA has issued, in PEM",
  }),
  registryCert: pathField("file", {
    description: "with --registry: the certificate that the manager shows there, in PEM",
  }),
  registryKey: pathField("file", { description: "with --registry-cert: its key" }),
  registryPasswordFile: pathField("file", {
    description: "with a user in --registry: a file with the password, for its owner alone",
    otherwise: "RFAAS_REGISTRY_PASSWORD has it",
  }),
};

export interface RegistryFlags {
  registry?: string | undefined;
  registryCa?: string | undefined;
  registryCert?: string | undefined;
  registryKey?: string | undefined;
  registryPasswordFile?: string | undefined;
}

export interface SharedStateOptions {
  stateDir: string;
  flags: RegistryFlags;
  registryPassword: string | undefined;
  ledger: Ledger;
  registry: Registry;
  /** Names the nodes of a list to the registry. */
  expect(): void;
}

export class SharedState {
  readonly #state: ClusterState;
  readonly #options: SharedStateOptions;
  /** The manager shares what it keeps, also when no other one is there. */
  readonly shares: boolean;
  #leads = false;
  #server: ManagerServer | undefined;

  private constructor(state: ClusterState, options: SharedStateOptions) {
    this.#state = state;
    this.#options = options;
    this.shares = options.flags.registry !== undefined;
  }

  /** Throws what `clusterStateAt` throws. */
  static async open(options: SharedStateOptions): Promise<SharedState> {
    const { stateDir, flags, registryPassword, ledger } = options;
    const billOf = (lease: string) => ledger.get(lease);
    const more = { stateDir, notes: ledger, billOf, registryPassword };
    return new SharedState(await clusterStateAt(flags.registry, { ...flags, ...more }), options);
  }

  /** Takes part: this manager leads from now on, or stands by. */
  async begin(
    server: ManagerServer,
    at: { address: string; http: string | null },
    identity: () => Identity,
    managers: (addresses: readonly string[]) => void,
  ): Promise<void> {
    this.#server = server;
    const { registry, stateDir, ledger } = this.#options;
    const warn = (message: string): void => log.warn(message);
    keepWishes(registry, stateDir, { leads: () => this.#leads, onProblem: warn });
    if (this.shares)
      keepSeen(registry, stateDir, { leads: () => this.#leads, clock: SYSTEM_CLOCK, log: warn });
    await this.#state.begin(at, identity, {
      managers,
      standing: (standing) => this.#stand(standing),
      bills: (bills) => take(ledger, bills),
      log: (level, message) => log[level](message),
    });
  }

  /** Why this manager turns all peers away; undefined when it leads. */
  readonly standsBy = (): string | undefined => {
    const { standing } = this.#state;
    if (standing.leads) return this.#leads ? undefined : "this manager is about to lead; try again";
    return standing.leader === undefined
      ? `this manager is not the leader: ${standing.why}`
      : `this manager is not the leader, it is at ${standing.leader}; name all managers, with commas between them`;
  };

  readonly role = (): ManagerRole => {
    const { standing, problem } = this.#state;
    return {
      standsBy: this.standsBy(),
      ...(standing.leads || standing.leader === undefined ? {} : { leader: standing.leader }),
      ...(this.shares ? { registry: problem ?? "ok" } : {}),
    };
  };

  /** The ledger, whose last bills the other managers have before a node hears that they are kept. */
  get sink(): LedgerSink {
    const { ledger } = this.#options;
    const record: LedgerSink["record"] = (reports) => ledger.record(reports);
    return this.shares ? { record, keep: (ended) => this.#state.keep(ended) } : { record };
  }

  /** The leases that go on; ends that are presumed are the other managers', too. */
  get open(): OpenLeases {
    const { ledger } = this.#options;
    return {
      live: () => ledger.live(),
      presumeEnded: (leases) => {
        ledger.presumeEnded(leases);
        if (!this.shares) return;
        const ended = leases.map((lease) => ledger.get(lease)).filter((one) => one !== undefined);
        this.#state.keepLater(ended);
      },
    };
  }

  /** Certificates for nodes, each of which has one join token used up at all managers. */
  enrolling(authority: Enrolling | undefined): Enrolling | undefined {
    if (!authority || !this.shares) return authority;
    return {
      fingerprint: authority.fingerprint,
      enrol: async (asked) => {
        await this.#state.settle();
        const enrolled = await authority.enrol(asked);
        await this.#state.settle();
        return enrolled;
      },
    };
  }

  /** Resolves once the other managers have what was wished. */
  readonly settle = async (): Promise<void> => await this.#state.settle();

  async end(): Promise<void> {
    await this.#state.end();
  }

  /** Names the nodes of the list again, where that is this manager's to do. */
  expectAgain(): void {
    if (this.#leads) this.#options.expect();
  }

  #stand(standing: Standing): void {
    if (this.shares && !standing.leads) log.info(`stands by: ${standing.why}`);
    if (standing.leads === this.#leads) return;
    this.#leads = standing.leads;
    if (!standing.leads) return this.#server!.stepDown();
    const { registry, stateDir, expect } = this.#options;
    registry.beginAnew();
    try {
      restoreWishes(registry, stateDir);
      expect();
    } catch (error) {
      if (!this.shares) throw error;
      // There may be no other manager that can take over.
      log.warn(`leads without what was wished of nodes: ${(error as Error).message}`);
    }
    if (this.shares) presumeSeen(registry, stateDir, SYSTEM_CLOCK.nowMs());
    this.#server!.takeOver();
    if (this.shares) log.info("leads from now on");
  }
}

/** Bills that another manager has taken. One that goes on again after its end was presumed is a report as any. */
function take(ledger: Ledger, bills: readonly FinalBill[]): void {
  ledger.adopt(bills.filter(({ endedAtMs }) => endedAtMs !== null));
  ledger.record(
    bills.filter(({ endedAtMs }) => endedAtMs === null).map(({ presumed: _, ...report }) => report),
  );
}
