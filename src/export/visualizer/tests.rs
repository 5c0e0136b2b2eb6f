use bitnetc_plan::{CoreRange, Cores, MemoryConfig};

use super::*;

#[test]
fn memory_configs_are_written_as_the_visualizer_reads_them() {
    assert_eq!(
        memory_config(&MemoryConfig::DRAM),
        "MemoryConfig(memory_layout=TensorMemoryLayout::INTERLEAVED,buffer_type=BufferType::DRAM,shard_spec=std::nullopt)"
    );
    let cores = Cores(vec![CoreRange { start: (0, 0), end: (7, 2) }, CoreRange { start: (0, 3), end: (5, 3) }]);
    assert_eq!(
        memory_config(&MemoryConfig::width(cores, [32, 128])),
        "MemoryConfig(memory_layout=TensorMemoryLayout::WIDTH_SHARDED,buffer_type=BufferType::L1,shard_spec=ShardSpec(\
         grid={[(x=0,y=0) - (x=7,y=2)], [(x=0,y=3) - (x=5,y=3)]},shape={32, 128},orientation=ShardOrientation::ROW_MAJOR,halo=0))"
    );
}
