/** The nodes that enrol: each gets a certificate, or hears why not, and its connection ends. */
import { RfaasError } from "../../base/errors.ts";
import type { Enrol, Enrolled } from "../../protocol/manager-messages.ts";
import type { Peer } from "./peer.ts";
import type { Reception } from "./reception.ts";

/** What issues certificates: the authority of `enrolment/`, as this desk uses it. */
export interface Enrolling {
  /** Of its own certificate, as clients pin it. */
  readonly fingerprint: string;
  /** Rejects with the reason to refuse the node. */
  enrol(asked: Enrol): Promise<Enrolled>;
}

export interface NewcomerDeskOptions {
  reception: Pick<Reception, "refuse">;
  authority: Enrolling | undefined;
  log(level: "info" | "warn", message: string): void;
}

export class NewcomerDesk {
  readonly #options: NewcomerDeskOptions;

  constructor(options: NewcomerDeskOptions) {
    this.#options = options;
  }

  /** Answers, and ends the connection. Rejects when the manager itself is wrong. */
  async asked(peer: Peer, { name, joinToken, ...asked }: Enrol): Promise<void> {
    const { reception, authority, log } = this.#options;
    if (!authority)
      return reception.refuse(
        peer,
        "RFAAS_USAGE",
        "this manager issues no certificates: it listens on loopback only, or with --insecure; leave --join out",
      );
    if (!peer.way.secure)
      return reception.refuse(
        peer,
        "RFAAS_TLS_REQUIRED",
        "a node joins over TLS only; give the manager's address as rfaas node join-token prints it: rfaas://HOST:PORT?ca=sha256:..",
      );
    let enrolled: Enrolled;
    try {
      enrolled = await authority.enrol({ name, joinToken, ...asked });
    } catch (error) {
      if (!(error instanceof RfaasError)) throw error;
      return reception.refuse(peer, String(error.code), error.message);
    }
    log("info", `node ${name} ${joinToken === null ? "has another certificate" : "has enrolled"}`);
    peer.connection.send({ t: "enrolled", ...enrolled });
    peer.connection.close();
  }
}
