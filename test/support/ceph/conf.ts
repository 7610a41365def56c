/** The cluster's configuration: one monitor, one memory-backed OSD, one gateway, all on loopback, logging nothing. */

const QUIET =
  "none lockdep context crush buffer timer objecter rados objectcacher client osd optracker objclass ms mon monc paxos tp auth finisher " +
  "heartbeatmap perfcounter rgw rgw_sync civetweb asok throttle mgr mgrc memdb rocksdb bluestore bluefs bdev";

export interface ConfOptions {
  readonly directory: string;
  readonly fsid: string;
  readonly monPort: number;
  readonly rgwPort: number;
  /** Where the OSD keeps its bytes: as much memory as tests put there, and no more than this. */
  readonly memoryBytes: number;
}

export function cephConf({ directory, fsid, monPort, rgwPort, memoryBytes }: ConfOptions): string {
  return `[global]
fsid = ${fsid}
mon host = [v2:127.0.0.1:${monPort}/0]
public network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = ${directory}/keyring
run dir = ${directory}
admin socket = ${directory}/$name.asok
log file = ${directory}/$name.log
pid file =
crash dir = ${directory}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 2
mon max pg per osd = 1000
mgr disabled modules = restful dashboard cephadm rook prometheus
ms async op threads = 2
${QUIET.split(" ")
  .map((name) => `debug ${name.replace("_", " ")} = 0/0`)
  .join("\n")}
[mon]
mon data = ${directory}/mon
# The default second between proposals would be most of the start.
paxos propose interval = 0.05
paxos min wait = 0.02
[mgr]
mgr data = ${directory}/mgr
keyring = ${directory}/mgr/keyring
mgr initial modules =
[osd]
osd data = ${directory}/osd
keyring = ${directory}/osd/keyring
osd objectstore = memstore
memstore device bytes = ${memoryBytes}
osd op num shards = 2
[client.rgw]
rgw data = ${directory}/rgw
keyring = ${directory}/rgw/keyring
rgw frontends = beast endpoint=127.0.0.1:${rgwPort} tcp_nodelay=1
rgw thread pool size = 64
rgw enable usage log = false
rgw enable ops log = false
rgw override bucket index max shards = 1
rgw dynamic resharding = false
`;
}
