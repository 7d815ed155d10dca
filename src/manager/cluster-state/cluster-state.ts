/**
 * What the managers of a cluster keep together, and which of them leads: a seam with an implementation for a manager that is alone, and
 * one a registry that several share.
 *
 * What they share of operators' wishes lies in files of the state directory (`shared-files.ts`), which each manager has whole; commands
 * and the manager read and write these, wherever else they are kept.
 */
import type { UsageReport } from "../../protocol/manager-messages.ts";

/** Whether a manager acts for the cluster. */
export type Standing =
  | { leads: true }
  /** `leader` is where the one is that leads, undefined where none is known; `why` is a clause. */
  | { leads: false; leader?: string; why: string };

/** The last bill of a lease. */
export type FinalBill = UsageReport & {
  /** Its node is lost, and its end is presumed. */
  presumed?: true;
};

/** By what managers of one cluster are recognised: what they must have alike. */
export interface Identity {
  cluster: string;
  /** Of the authority's certificate; null where there is none. */
  ca: string | null;
  /** The public half; null where the cluster asks for no tokens. */
  tokenKey: string | null;
}

/** How a manager is reached. */
export interface Reached {
  address: string;
  /** Its HTTP interface; null where it has none. */
  http: string | null;
}

/** The manager, as far as what is shared concerns it. */
export interface ShareEvents {
  /** Another standing: follow it before this returns. What is shared is up to date when it leads. */
  standing(standing: Standing): void;
  /** Records bills that another manager has taken. Throws where it cannot. */
  bills(bills: readonly FinalBill[]): void;
  /** The managers of the cluster, this one first, as they are reached. */
  managers(addresses: readonly string[]): void;
  log(level: "info" | "warn", message: string): void;
}

export interface ClusterState {
  /** As `Standing` says now: asked before each act for the cluster. */
  readonly standing: Standing;
  /** Why what is shared cannot be reached; null when it can. */
  readonly problem: string | null;
  /** Takes part from now on. `identity` is asked again from time to time. */
  begin(at: Reached, identity: () => Identity, events: ShareEvents): Promise<void>;
  /** Resolves once the shared files, as they are now, are the other managers', too. Rejects where that cannot be. */
  settle(): Promise<void>;
  /** Resolves once other managers will have these bills, whatever becomes of this one. Rejects where it does not lead. */
  keep(bills: readonly FinalBill[]): Promise<void>;
  /** As {@link keep}, once that can be. */
  keepLater(bills: readonly FinalBill[]): void;
  /** Takes no part any more; another one may lead at once. */
  end(): Promise<void>;
}

/** What an implementation is given. */
export interface StateOptions {
  stateDir: string;
  /** What was kept of the way through what is shared, beside the bills themselves. */
  /** What the ledger of this manager has of a lease: what was reported twice, in any order, is there once. */
  billOf(lease: string): FinalBill | undefined;
  notes: { recall(name: string): string | undefined; remember(name: string, text: string): void };
}
