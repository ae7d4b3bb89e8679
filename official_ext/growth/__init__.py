from official_ext.growth.architecture import Architecture
