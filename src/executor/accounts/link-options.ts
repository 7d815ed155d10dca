/** What a node's connection to its manager is given, and what it tells. */
import type { Address } from "../../control/address.ts";
import type { LastingOptions } from "../../control/lasting-connection.ts";
import type { Dial } from "../../control/link.ts";
import type { QuotaWord } from "../../protocol/manager-messages.ts";
import type { QuotaManager } from "../admission/cluster-quota.ts";
import type { Revocation } from "../../protocol/tokens/revocation.ts";
import type { Announce, UsageReport } from "../../protocol/manager-messages.ts";

export interface ManagerLinkEvents {
  /** The manager drains the node; its leases may go on for `deadlineMs`. May come again with another deadline. */
  drain(deadlineMs: number): void;
  resume(): void;
  /** The manager has removed the node. The link only hands in bills from now on, until {@link ManagerLink.leave}. */
  removed(): void;
  /** It may come again: the link announces the node anew, over the next connection. */
  readmitted?(): void;
  /** The key that checks the tokens of clients; null when the cluster asks for no tokens. */
  key(publicKey: string | null): void;
  /** Which tokens count no more; all that there are. */
  revoked?(tokens: readonly Revocation[]): void;
  /** The manager counts what users hold from now on; undefined when it is away. */
  quotas?(manager: QuotaManager | undefined): void;
  /** What it says of users. */
  quota?(word: QuotaWord): void;
  /** The manager has accepted the node; `looks` when it looks for nodes at their addresses. Called again after each loss. */
  joined?(looks: boolean): void;
  /** Clients expect of the cluster's nodes certificates of this authority. */
  authority?(fingerprint: string): void;
  /** The manager does not take the node's token. */
  tokenRefused?(): void;
  /** The manager cannot save bills (with the reason), or can again (null). */
  ledger?(problem: string | null): void;
  /** The manager has this report in its ledger. */
  saved?(report: UsageReport): void;
  log(level: "info" | "warn", message: string): void;
}

/** What a node announces. */
export type NodeAnnouncement = Omit<Announce, "protocol" | "version" | "settling" | "can">;

/** How it reaches its manager; by the machine's network and clock, unless a test has its own. */
export interface LinkOptions extends LastingOptions {
  dial?: Dial;
  /** In clear, also to another machine. */
  insecure?: boolean | undefined;
}

export interface ManagerLinkOptions extends LinkOptions {
  manager: Address | readonly Address[] | string;
  announce: NodeAnnouncement;
  /** What the node shows now in place of the announcement's token, where it has something. */
  token?: (() => string | null) | undefined;
  events: ManagerLinkEvents;
}
