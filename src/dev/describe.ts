import { AUXILIARY, hostUrl, zkRootOf } from './clickhouse-host';
import type { HostStatus } from './host/config';
import { readLiveProcess } from './processes';
import { readJson, stackFiles, type HostSettings, type StackSettings } from './stack-settings';
import { TEMPORAL_NAMESPACE, temporalAddress, temporalUi } from './temporal';
import { zookeeperConnect } from './zookeeper';

/** What `dev up --json` and `dev status --json` print. A `pid` is null where the part does not run. */
export interface StackDescription {
  dir: string;
  /** Every part runs. */
  running: boolean;
  temporal: { address: string; ui: string; namespace: string; pid: number | null; log: string };
  /** `auxiliary`: what stands before the colon of a path, and the root of these paths on the same server. */
  zookeeper: { connect: string; auxiliary: { name: string; root: string }; pid: number | null; log: string };
  hosts: HostDescription[];
}

export interface HostDescription {
  name: string;
  url: string;
  /** Empty where the host has none. */
  zkRoot: string;
  dataDir: string;
  statementLog: string;
  pid: number | null;
  shard: number;
  replica: string;
  /** Replicas on this host become active; see `activationNote`. */
  active: boolean;
  activationNote: string;
  /** ClickHouse's; null before the first start. */
  version: string | null;
  log: string;
}

/** Describes a stack as it is now; only process ids are looked at, nothing is asked. */
export function describeStack(dir: string, settings: StackSettings): StackDescription {
  const files = stackFiles(dir);
  const pid = (name: string): number | null => readLiveProcess(files.part(name).pid)?.pid ?? null;
  const description = {
    dir,
    temporal: {
      ...{ address: temporalAddress(settings), ui: temporalUi(settings), namespace: TEMPORAL_NAMESPACE },
      ...{ pid: pid('temporal'), log: files.part('temporal').log },
    },
    zookeeper: { connect: zookeeperConnect(settings), auxiliary: AUXILIARY, pid: pid('zookeeper'), log: files.part('zookeeper').log },
    hosts: settings.hosts.map((host) => describeHost(dir, host, pid(host.name))),
  };
  const parts = [description.temporal, description.zookeeper, ...description.hosts];
  return { ...description, running: parts.every((part) => part.pid !== null) };
}

function describeHost(dir: string, host: HostSettings, pid: number | null): HostDescription {
  const files = stackFiles(dir).part(host.name);
  const status = readJson<HostStatus>(files.status);
  return {
    name: host.name,
    url: hostUrl(host),
    zkRoot: zkRootOf(dir, host),
    dataDir: `${files.home}/data`,
    statementLog: files.statements,
    pid,
    shard: host.shard,
    replica: host.replica,
    active: pid !== null && status?.active === true,
    activationNote: status?.activationNote ?? 'not started yet',
    version: status?.version ?? null,
    log: files.log,
  };
}
