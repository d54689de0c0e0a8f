import type { NativeStat } from './native-client';

/** A node's stat (https://zookeeper.apache.org/doc/current/zookeeperProgrammers.html#sc_zkStatStructure). */
export interface ZnodeStat {
  /** Transaction that created the node. Decimal, as are the next two. */
  czxid: string;
  /** Transaction that last changed its data. */
  mzxid: string;
  /** Transaction that last changed its children. */
  pzxid: string;
  version: number;
  /** Changes of its children. */
  cversion: number;
  numChildren: number;
  /** Session that owns an ephemeral node, in hex; `'0'` for a persistent one. */
  ephemeralOwner: string;
  /** Bytes. */
  dataLength: number;
  /** When the node was made, by the clock of ZooKeeper: milliseconds since 1970. */
  createdMs: number;
}

/** The JSON-safe part of the binding's stat. */
export function toStat(stat: NativeStat): ZnodeStat {
  return {
    czxid: String(stat.czxid),
    mzxid: String(stat.mzxid),
    pzxid: String(stat.pzxid),
    version: stat.version,
    cversion: stat.cversion,
    numChildren: stat.numChildren,
    ephemeralOwner: stat.ephemeralOwner,
    dataLength: stat.dataLength,
    createdMs: Number(stat.ctime),
  };
}
